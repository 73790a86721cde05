"""Runs LLM agents as durable jobs."""
