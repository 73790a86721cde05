"""A claimed job's journal: what it says, and the only hand that writes it."""
