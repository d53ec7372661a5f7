"""The Celery application, the event consumer, the exporter and the command line."""
