"""The flat names of older caches' settings: `CacheConfig(redis_host="cache", max_size=500)`.

Each stands for a field of the configuration, and holds no value of its own. `OLDER_ARGUMENTS` is the one
table of them; docs/configuration.md shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, cast

from stoker.core.settings.fields import mapping
from stoker.core.settings.problems import FieldPath, dotted
from stoker.core.vocabulary import CacheBackend

if TYPE_CHECKING:
    from stoker.core.settings.config import MemoryConfig, RedisConfig
    from stoker.core.settings.policy import Policy

#: The name among `types` of what holds for all types that don't say otherwise.
ALL_TYPES = "*"

#: Older name, and the field it stands for.
OLDER_ARGUMENTS: dict[str, FieldPath] = {
    "url": ("redis", "url"),
    "redis_url": ("redis", "url"),
    "redis_host": ("redis", "host"),
    "redis_port": ("redis", "port"),
    "redis_db": ("redis", "db"),
    "redis_username": ("redis", "username"),
    "redis_password": ("redis", "password"),
    "max_connections": ("redis", "max_connections"),
    "socket_timeout": ("redis", "timeout"),
    "socket_connect_timeout": ("redis", "connect_timeout"),
    "socket_keepalive": ("redis", "keepalive"),
    "key_prefix": ("prefix",),
    "max_size": ("memory", "entries"),
    "l1_max_size": ("memory", "entries"),
    "memory_cache_size": ("memory", "entries"),
    "l1_ttl": ("types", ALL_TYPES, "memory_ttl"),
    "compression_threshold": ("types", ALL_TYPES, "compress_above"),
    "compression_level": ("types", ALL_TYPES, "compression_level"),
}

#: What `backend` stands for.
BACKENDS: dict[CacheBackend, tuple[FieldPath, Any]] = {
    CacheBackend.MEMORY: (("redis", "enabled"), False),
    CacheBackend.REDIS: (("types", ALL_TYPES, "tiers"), ["redis"]),
    CacheBackend.MULTI_LAYER: (("types", ALL_TYPES, "tiers"), ["memory", "redis"]),
}

#: Entries in one process's memory at most.
MAX_ENTRIES = 10_000_000

#: Understood, and without effect: values are bytes to the server, and texts in them UTF-8, whatever is said.
WITHOUT_EFFECT = frozenset({"encoding", "decode_responses"})

#: Names of one field that older systems gave to two caches: the first goes for two tiers, the second else.
SIZES = ("l1_max_size", "max_size")

_UTF_8 = frozenset({"utf-8", "utf8"})


class ConfigArguments(TypedDict, total=False):
    """The arguments of `CacheConfig`: its fields, and the older names."""

    prefix: str
    namespace: str
    redis: RedisConfig | Mapping[str, Any]
    memory: MemoryConfig | Mapping[str, Any]
    default_ttl: float | str
    request_metrics_ttl: float | str
    types: Mapping[str, Policy] | Mapping[str, Mapping[str, Any]] | Mapping[str, Policy | Mapping[str, Any]]
    loaders: Sequence[str]
    backend: CacheBackend | str
    url: str
    redis_url: str
    redis_host: str
    redis_port: int
    redis_db: int
    redis_username: str | None
    redis_password: str | None
    max_connections: int
    socket_timeout: float
    socket_connect_timeout: float
    socket_keepalive: bool
    encoding: str
    decode_responses: bool
    key_prefix: str
    max_size: int
    l1_max_size: int
    memory_cache_size: int
    l1_ttl: float | str
    compression_threshold: int | str
    compression_level: int


def in_their_places(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with the older names among them put where they belong.

    Raises:
        ValueError: Two names of one field are given, and differ; or one has a value that can't be obeyed.
    """
    result = {name: value for name, value in given.items() if not _is_older(name)}
    names = {name: given[name] for name in given if _is_older(name)}
    _check_encoding(names.pop("encoding", "utf-8"))
    names.pop("decode_responses", None)
    placed: dict[FieldPath, tuple[str, Any]] = {}
    if (backend := names.pop("backend", None)) is not None:
        path, value = BACKENDS[_backend(backend)]
        placed[path] = "backend", value
    if all(name in names for name in SIZES):
        del names[SIZES[backend == CacheBackend.MULTI_LAYER]]
    for name, value in names.items():
        if value is None or (name == "key_prefix" and not value):
            continue  # the older way of saying nothing
        path = OLDER_ARGUMENTS[name]
        other, known = placed.setdefault(path, (name, value))
        if known != value:
            raise ValueError(f"{name} and {other} both mean {dotted(path)}, and differ: give one of them")
    for path, (name, value) in placed.items():
        _place(result, path, name, value)
    return result


def left_to_stores(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a `MemoryCache` or a `MultiLayerCache` takes in its own way: backend, and both sizes.

    Raises:
        ValueError: Of two sizes one is none.
    """
    said = {name: given[name] for name in ("backend", *SIZES) if given.get(name) is not None}
    if not all(name in said for name in SIZES):
        return {name: said[name] for name in said if name not in SIZES}
    for name in SIZES:
        size = said[name]
        said[name] = size = int(size) if isinstance(size, str) and size.isdecimal() else size
        if type(size) is not int or not 1 <= size <= MAX_ENTRIES:
            raise ValueError(f"{name} is a number of entries from 1 to {MAX_ENTRIES}, not {size!r:.80}")
    return said


def _is_older(name: str) -> bool:
    return name in OLDER_ARGUMENTS or name == "backend" or name in WITHOUT_EFFECT


def _check_encoding(encoding: Any) -> None:
    if not isinstance(encoding, str) or encoding.lower() not in _UTF_8:
        raise ValueError(f"encoding: texts are stored as UTF-8 alone, not as {encoding!r}; leave it out")


def _backend(name: Any) -> CacheBackend:
    try:
        return CacheBackend(name)
    except ValueError:
        known = ", ".join(CacheBackend)
        raise ValueError(f"backend: {name!r} is none; there are: {known}") from None


def _place(data: dict[str, Any], path: FieldPath, name: str, value: Any) -> None:
    """Put a value where its name's field is, unless that has it already."""
    here = data
    for part in path[:-1]:
        inner = here.get(str(part), {})
        if hasattr(inner, "model_dump"):
            inner = inner.model_dump(exclude_unset=True)
        if (known := mapping(inner)) is None:
            return  # what is no section is for the model to refuse
        here[str(part)] = here = dict(known)
    last = str(path[-1])
    if last in here and not _same(here[last], value):
        raise ValueError(f"{name} and {dotted(path)} are both given, and differ: give one of them")
    here[last] = value


def _same(one: Any, other: Any) -> bool:
    return bool((list(cast("Any", one)) if isinstance(one, tuple) else one) == other)
