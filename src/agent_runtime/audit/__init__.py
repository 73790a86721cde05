"""Audit: the chain over every job's entries, its verification, and taking content away so that the chain still holds."""
