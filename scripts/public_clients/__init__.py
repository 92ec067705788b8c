"""Public clients of memcached: their own tests and tools, run against a server, and what passed."""
