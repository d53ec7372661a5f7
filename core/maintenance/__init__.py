"""Maintenance: sweeping, clearing away, counting and explaining what is stored."""
