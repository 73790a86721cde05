"""Rules about what may happen: as data, from Python or YAML, and the engine that applies them."""
