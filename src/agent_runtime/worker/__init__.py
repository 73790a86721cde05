"""One process as a worker: its life, its timers, which jobs are ready, and what others have changed."""
