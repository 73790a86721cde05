"""Databases behind the ports: memory, SQLite, Postgres, Redis."""
