"""The same cache for callers without an event loop."""
