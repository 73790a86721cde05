"""Frozen values: what jobs, events, actions, budgets and contexts are, without any I/O."""
