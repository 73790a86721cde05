"""What a user holds: the kernel, what is asked of it, and handles of its jobs."""
