"""The port to a model, and its implementations, one file per wire format."""
