"""redis-py and hiredis, which only caches with a server need: `pip install 'stoker[redis]'`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from stoker.core.errors import ConfigError

try:
    import hiredis
except ModuleNotFoundError:
    hiredis: Any = None  # type: ignore[no-redef]

_hiredis: Any = hiredis

#: Makes what reads replies out of bytes.
Reader: Any = getattr(_hiredis, "Reader", None)

#: A command as bytes, as the server reads it.
pack: Callable[[Any], bytes] = getattr(_hiredis, "pack_command", None)  # type: ignore[assignment]


def load_driver() -> None:
    """Import what connects to a server: when a cache is made that has one, before its event loop runs.

    Raises:
        ConfigError: It is not installed.
    """
    missing = [] if _hiredis is not None else ["hiredis"]
    try:
        import_module("redis.asyncio.connection")
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise  # it is there, and broken
        missing.insert(0, "redis")
    if missing:
        raise ConfigError(
            f"a cache in Redis needs {' and '.join(missing)}: pip install 'stoker[redis]', or keep it in "
            "memory (redis.enabled: false, USE_REDIS=false, or MemoryCache)"
        )
