"""Invalidations that are kept until the server takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stoker.core.log.kept import MAX_KEPT_SCOPES, KeptInvalidations, Notes
from stoker.core.log.scopes import Copy, Key, Scope
from tests.waiting import eventually


class Server:
    """Takes invalidations when it is let."""

    def __init__(self) -> None:
        self.taken: list[Scope | Copy] = []
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def append(self, scopes: Sequence[Scope | Copy], notes: Notes) -> None:
        self.asked.set()
        await self.answers.wait()
        self.taken += scopes

    async def ready(self) -> None:
        return None


async def test_what_is_kept_again_while_it_is_being_appended_is_appended_again() -> None:
    """It may have been said after the record was written, of something that was loaded in between."""
    server = Server()
    kept = KeptInvalidations(server.append, server.ready)
    kept.add([Key("product", "1")], {})
    await server.asked.wait()
    kept.add([Key("product", "1")], {})
    server.answers.set()
    await eventually(lambda: kept.empty, "all is appended")
    assert server.taken == [Key("product", "1")] * 2


async def test_as_many_as_are_kept_at_most_are_appended_one_by_one() -> None:
    server = Server()
    kept = KeptInvalidations(server.append, server.ready)
    scopes = [Key("product", str(number)) for number in range(MAX_KEPT_SCOPES)]
    for scope in scopes:
        kept.add([scope], {})
    assert len(kept) == MAX_KEPT_SCOPES
    server.answers.set()
    await eventually(lambda: kept.empty, "all is appended")
    assert server.taken == scopes
    assert len(kept) == 0
