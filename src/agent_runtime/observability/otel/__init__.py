"""Traces and metrics of what has run, told to OpenTelemetry from the journals."""
