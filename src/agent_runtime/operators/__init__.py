"""What runs: operators, and the context they work with."""
