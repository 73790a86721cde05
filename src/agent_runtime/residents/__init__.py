"""Agents that stay: their states, their mailboxes, what wakes them, and how a turn of theirs runs."""
