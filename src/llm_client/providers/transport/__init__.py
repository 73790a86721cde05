"""HTTP for providers: a port, two implementations, and the reading of event streams."""
