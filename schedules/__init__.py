"""The schedule: what runs when, as YAML, checked and turned into Celery beat entries."""
