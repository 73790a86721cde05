"""Executions and model calls as rows of a database, which people query, add up and keep for as long as they want."""
