"""Schedules: when something is due, and what becomes of due times that nobody was there for."""
