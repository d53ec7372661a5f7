"""Rules of the protocol, each with what breaks it: a harness that can't fail shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stoker.core import CacheManager


def _stamp_at_the_end(manager: CacheManager) -> None:
    """Entries are born where the log stands when they are stored, not when their load began."""
    storage: Any = manager.storage
    store = storage.store

    async def store_late(
        cache_type: str, key: str, value: Any, tags: tuple[bytes, ...], epoch: int, born: int, **rest: Any
    ) -> Any:
        del epoch, born
        await manager.log.catch_up()
        return await store(cache_type, key, value, tags, manager.log.epoch, manager.log.seen, **rest)

    storage.store = store_late


def _be_deaf(manager: CacheManager) -> None:
    """What is read from the log is not taken in."""
    history: Any = manager.log.history
    history.add = _nothing


def _join_anything(manager: CacheManager) -> None:
    """Whoever waits for a load under way takes its result, whenever they began."""
    inside: Any = manager
    inside._loads.flights._may_serve = _yes  # noqa: SLF001


def _yes(*_: object) -> bool:
    return True


def _nothing(*_: object) -> None:
    return None


RULES: dict[str, Callable[[CacheManager], None]] = {
    "born-at-the-end": _stamp_at_the_end,
    "deaf": _be_deaf,
    "join-anything": _join_anything,
}


def break_rule(rule: str, manager: CacheManager) -> None:
    """Break a rule in one cache."""
    RULES[rule](manager)
