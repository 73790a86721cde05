"""Events on their way to readers."""
