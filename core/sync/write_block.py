"""A block that changes the source and the cache together, for callers without an event loop."""

from __future__ import annotations

import weakref
from types import TracebackType

from stoker.core.manager import CacheManager
from stoker.core.sync.home import Perform
from stoker.core.sync.owed import Owed
from stoker.core.write_through import WriteThrough


class WriteBlock:
    """`with cache.write_through(type, key) as write`; see `SyncCacheManager.write_through`.

    Args:
        perform: Has the cache do something, and waits for it.
        cache_type: The key's type.
        key: The key.
    """

    def __init__(self, perform: Perform, cache_type: str, key: str) -> None:
        self._perform = perform
        self._cache_type = cache_type
        self._key = key
        self._raised: list[BaseException] = []
        self._owed: Owed[CacheManager, None] | None = None
        self._unended: weakref.finalize[[], WriteBlock] | None = None

    def __enter__(self) -> WriteThrough:
        async def begin(manager: CacheManager) -> WriteThrough:
            return await manager.write_through(self._cache_type, self._key).__aenter__()

        write, raised = self._perform(begin), self._raised

        async def end(manager: CacheManager) -> None:
            write.move_to(manager)
            error = raised[0] if raised else None  # the block's own, as `async with` would be told
            await write.__aexit__(type(error) if error else None, error, None)

        # Before the block: from now on, whatever interrupts it, the key is invalidated. A time limit may fall
        # before the first step of `__exit__`: then it is as nobody has the block any more.
        self._owed = owed = Owed(self._perform, end)
        self._unended = weakref.finalize(self, owed.hand_over)
        self._unended.atexit = False
        return write

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owed is None or self._unended is None:
            return
        try:
            if error is not None:
                self._raised.append(error)
            self._owed.pay()
        except BaseException:  # a time limit, before the first step of paying
            self._owed.hand_over()
            raise
        self._unended.detach()
