"""Metrics and statistics: of a process, and of the fleet."""
