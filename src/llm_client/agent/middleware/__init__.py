"""The default steps around a tool call, one per file."""
