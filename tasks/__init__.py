"""Celery tasks, each of which calls one thing of the cache library."""
