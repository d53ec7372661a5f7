"""Settings: what a cache is told by a file, the environment or its caller."""
