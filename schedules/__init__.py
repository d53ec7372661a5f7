"""The schedule: what runs when, from YAML to beat entries."""
