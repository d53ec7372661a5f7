"""The invalidation log: what stands in it, and what a process knows of it."""
