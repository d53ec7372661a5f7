"""How a rule of the contract is run: over a fresh cache, on an event loop of its own."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

from stoker.core.interface import CacheInterface

RulesT = TypeVar("RulesT", bound="Rules")

#: Looks at whether something has expired, after its time has passed; a store may take a moment longer.
MAX_LOOKS = 40


class Rules:
    """What a class of rules needs to know of a store: its user overrides it.

    Attributes:
        tick: The shortest TTL that the store keeps, in seconds; 1 where it counts in whole seconds.
        binary: Whether it keeps bytes as bytes.
        namespaces: Whether caches of two namespaces are apart.
        copies: Whether a value that was read, or stored, may be changed without others seeing it. Stores in
            memory may hand out what they keep; then a reader must not change it.
        large: Bytes of a value that it must be able to keep.
        namespace: That of the running test.
        made: The caches that it has made.
    """

    tick: ClassVar[float] = 0.05
    binary: ClassVar[bool] = True
    namespaces: ClassVar[bool] = True
    copies: ClassVar[bool] = False
    large: ClassVar[int] = 2**20
    namespace: str
    made: list[CacheInterface]

    async def make(self, namespace: str) -> CacheInterface:
        """Make an empty cache for one test, ready for use."""
        raise NotImplementedError(f"{type(self).__name__}.make: return the cache that is to be tested")

    async def end(self, cache: CacheInterface) -> None:
        """Close a cache that `make` made."""
        close = getattr(cache, "close", None)
        if close is not None:
            await close()

    async def elapse(self, seconds: float) -> None:
        """Let time pass: really, unless the store's clock can be set."""
        await asyncio.sleep(seconds)

    async def until_gone(self, cache: CacheInterface, key: str) -> None:
        """Let a TTL of one tick pass, and a moment more if the store takes it."""
        await self.elapse(self.tick)
        for _ in range(MAX_LOOKS):
            await self.elapse(self.tick / 4)
            if not await cache.exists(key):
                return
        raise AssertionError(f"{key!r} with a TTL of {self.tick:g} s has not expired long after that")

    async def another(self, namespace: str) -> CacheInterface:
        """A further cache, to be closed after the test."""
        cache = await self.make(namespace)
        self.made.append(cache)
        return cache


def rule(check: Callable[[RulesT, CacheInterface], Awaitable[None]]) -> Callable[[RulesT], None]:
    """Make a test of a rule: `check` gets a fresh cache."""

    async def carry_out(rules: RulesT) -> None:
        rules.made, rules.namespace = [], f"contract-{uuid.uuid4().hex[:12]}"
        try:
            await check(rules, await rules.another(rules.namespace))
        finally:
            for cache in reversed(rules.made):
                await rules.end(cache)

    @functools.wraps(check)
    def test(self: RulesT) -> None:
        asyncio.run(carry_out(self))

    made: Any = test
    del made.__wrapped__  # pytest would ask for the fixture `cache`
    return test
