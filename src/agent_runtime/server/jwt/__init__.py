"""Tokens of an identity provider, beside API keys."""
