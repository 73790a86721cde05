"""Jobs: their states, and driving them by hand."""
