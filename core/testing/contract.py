"""The contract of `CacheInterface`, as a class of pytest tests to run over a store of one's own."""

from __future__ import annotations

from stoker.core.testing.concurrency import BatchRules, CounterRules, LoadRules
from stoker.core.testing.lifetimes import LifetimeRules
from stoker.core.testing.values import ValueRules


class CacheContract(ValueRules, LifetimeRules, BatchRules, LoadRules, CounterRules):
    """What every store must do, as tests.

    Subclass it under a name that pytest collects, and say how a cache is made. No plugin for asyncio is
    needed: each test runs on an event loop of its own.

    ```python
    class TestMyStore(CacheContract):
        async def make(self, namespace: str) -> CacheInterface:
            return MyStore(namespace)
    ```

    Override `elapse` where the store's clock can be set, and `tick`, `binary`, `namespaces` and `large` where
    the store can do less; say `copies = True` where it can do more. `FailureContract` beside it is for stores
    that can be out of reach.
    """
