"""The port to a model, and its implementations, one folder per vendor."""
