"""One request at a time to any language model: providers, tools, agents, and honest money."""
