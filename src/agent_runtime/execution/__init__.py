"""One claimed job: its run, its journal, its lines of work, and how it ends."""
