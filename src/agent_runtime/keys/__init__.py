"""API keys: making, ending and recognising them."""
