"""Caches that nobody passes around: the default one of an event loop, and those that `@cached` opens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from stoker.core.background import spawn
from stoker.core.errors import ConfigError, UsageError
from stoker.core.manager import CacheManager
from stoker.core.parts import connect_or_close
from stoker.core.settings.config import CacheConfig, load_config
from stoker.core.settings.policy import Tier
from stoker.core.stores import STORE_TYPE
from stoker.core.sync.manager import SyncCacheManager
from stoker.core.vocabulary import CacheBackend

T = TypeVar("T")

#: The cache type of results for which none was named.
RESULTS = STORE_TYPE

_TIERS: dict[CacheBackend, tuple[Tier, ...]] = {
    CacheBackend.MEMORY: ("memory",),
    CacheBackend.REDIS: ("redis",),
    CacheBackend.MULTI_LAYER: ("memory", "redis"),
}

Loop = asyncio.AbstractEventLoop

_defaults: dict[Loop, CacheManager] = {}
_opened: dict[tuple[Loop, str], asyncio.Task[CacheManager]] = {}
_faces: dict[str, SyncCacheManager] = {}


async def init_default_cache(config: CacheConfig | Mapping[str, Any] | None = None) -> CacheManager:
    """Open the default cache of the running event loop, and return it connected.

    Args:
        config: Its configuration, or the fields of one; `stoker.yaml` and the environment where not given.

    Raises:
        UsageError: This event loop has one already.
        ConfigError: The configuration can't be used.
    """
    loop = asyncio.get_running_loop()
    if loop in _defaults:
        raise UsageError("this event loop has a default cache: call close_default_cache() before another one")
    _drop_closed()
    manager = _defaults[loop] = CacheManager(_complete(_given(config), None))
    try:
        await connect_or_close(manager)
    except BaseException:  # a cancellation, too: it is not to be had then
        _defaults.pop(loop, None)
        raise
    return manager


def get_default_cache() -> CacheManager:
    """Return the default cache of the running event loop.

    Raises:
        UsageError: There is none; or no event loop runs here.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "no event loop runs here: the default cache is one loop's; without a loop use SyncCacheManager"
        ) from None
    found = _defaults.get(loop)
    if found is not None:
        return found
    _drop_closed()
    there = "; another event loop has one, which can't be used here" if _defaults else ""
    raise UsageError(f"there is no default cache: await init_default_cache(config) first{there}")


async def close_default_cache() -> None:
    """Close the default cache of the running event loop, and all that `@cached` has opened; safe to repeat.

    What is called later opens its cache again.
    """
    loop = asyncio.get_running_loop()
    _drop_closed()
    managers = [manager] if (manager := _defaults.pop(loop, None)) else []
    for name in [name for name in _opened if name[0] is loop]:
        opening = _opened.pop(name)
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            managers.append(opening.result())
    for manager in managers:
        await manager.close()
    while _faces:
        await asyncio.to_thread(_faces.popitem()[1].close)


class OwnCache:
    """A cache that is opened at its first use, one for each configuration and event loop.

    Args:
        backend: Where results are kept. Without one, and without a configuration, the default cache of the
            event loop is used where there is one.
        config: Its configuration, or the fields of one; `stoker.yaml` and the environment where not given.
        cache_type: The type that it is to have.

    Raises:
        UsageError: There is no such backend; or the configuration can't be used, or has no such type.
    """

    def __init__(
        self,
        backend: CacheBackend | str | None,
        config: CacheConfig | Mapping[str, Any] | None,
        cache_type: str = RESULTS,
    ) -> None:
        try:
            self._backend = None if backend is None else CacheBackend(backend)
        except ValueError:
            known = ", ".join(CacheBackend)
            raise UsageError(f"there is no backend {backend!r}; there are: {known}") from None
        self._given = config or None
        if self._given is not None:
            _checked(self._given).policy(cache_type)
        self._config: CacheConfig | None = None
        self._name = ""

    def _configured(self) -> CacheConfig:
        if self._config is None:
            self._config = _complete(_given(self._given), self._backend)
            self._name = repr((self._config.model_dump(), self._config.redis.url))
        return self._config

    async def open(self) -> CacheManager:
        """Return the connected cache of the running event loop.

        Raises:
            ConfigError: The configuration can't be used.
        """
        loop = asyncio.get_running_loop()
        if self._backend is None and self._given is None and (default := _defaults.get(loop)) is not None:
            return default
        config = self._configured()
        opening = _opened.get((loop, self._name))
        if opening is None or _has_failed(opening):
            _drop_closed()
            opening = _opened[loop, self._name] = spawn(_connected(config), "stoker-open")
        if opening.done():
            return opening.result()
        return await asyncio.shield(opening)

    def perform(self, work: Callable[[CacheManager], Coroutine[Any, Any, T]]) -> T:
        """Have the cache of this process do something, for a caller without an event loop.

        Raises:
            ConfigError: The configuration can't be used.
            Exception: Whatever `work` raises.
        """
        config = self._configured()
        face = _faces.get(self._name) or _faces.setdefault(self._name, SyncCacheManager(config))
        return face.perform(work)


def _has_failed(opening: asyncio.Task[CacheManager]) -> bool:
    """Whether a cache could not be opened: what kept it from that may be mended now."""
    return opening.done() and (opening.cancelled() or opening.exception() is not None)


def _checked(given: CacheConfig | Mapping[str, Any]) -> CacheConfig:
    """Say at once what can't be used; the environment is looked at when the cache is opened."""
    try:
        return _complete(_given(given), None)
    except ConfigError as error:
        raise UsageError(str(error)) from None


async def _connected(config: CacheConfig) -> CacheManager:
    manager = CacheManager(config)
    await connect_or_close(manager)
    return manager


def _drop_closed() -> None:
    """Forget the caches of event loops that have ended without closing them."""
    for loop in [loop for loop in _defaults if loop.is_closed()]:
        del _defaults[loop]
    for name in [name for name in _opened if name[0].is_closed()]:
        del _opened[name]


def _given(config: CacheConfig | Mapping[str, Any] | None) -> CacheConfig:
    if config is None:
        return load_config(CacheConfig).value
    if isinstance(config, CacheConfig):
        return config
    try:
        return CacheConfig.model_validate(dict(config))
    except ValidationError as error:
        raise ConfigError(f"the configuration of a cache can't be used: {error}") from None


def _complete(config: CacheConfig, backend: CacheBackend | None) -> CacheConfig:
    """Let a configuration have the type of results for which none is named, kept where the backend says."""
    config = config.with_type(RESULTS)
    if backend is None:
        return config
    types = {
        name: policy.model_copy(update={"tiers": _TIERS[backend]}) for name, policy in config.types.items()
    }
    redis = config.redis.model_copy(update={"enabled": backend is not CacheBackend.MEMORY})
    return config.model_copy(update={"types": types, "redis": redis})
