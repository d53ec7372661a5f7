"""Loading: one load per key, in a process and across the fleet."""
