"""Bridges to systems outside: queues, brokers, tracing. Each needs an extra of its own, and none knows another."""
