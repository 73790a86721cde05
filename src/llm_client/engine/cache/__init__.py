"""Caches of model answers."""
