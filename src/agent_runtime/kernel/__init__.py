"""Running jobs: the kernel, the context operators work with, and the guards around models and tools."""
