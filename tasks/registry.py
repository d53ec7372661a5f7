"""All tasks, and how an application gets them."""

from __future__ import annotations

from celery import Celery

from stoker.tasks.cleanup_metrics import CleanupMetrics
from stoker.tasks.compute_hit_rates import ComputeHitRates
from stoker.tasks.invalidate import Invalidate
from stoker.tasks.runtime import AsyncTask
from stoker.tasks.sweep import Sweep
from stoker.tasks.warm import Warm

TASKS: tuple[type[AsyncTask], ...] = (Warm, CleanupMetrics, ComputeHitRates, Sweep, Invalidate)


def register_tasks(app: Celery) -> None:
    """Register all of Stoker's tasks with an application."""
    for task in TASKS:
        app.register_task(task())
