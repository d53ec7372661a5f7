"""The cache's configuration: `stoker.yaml`, and the environment over it.

What holds, strongest first:

1. an argument of the call (`ttl=` of [`CacheManager.set`][stoker.core.manager.CacheManager.set]);
2. a variable for the very field: `STOKER_TYPES__LLM_RESPONSE__TTL`, then its older name, `CACHE_TTL_LLM`;
3. the file: `types.llm_response.ttl`;
4. what sets a built-in type apart (`llm_response`: two hours);
5. for a TTL, the default one: `STOKER_DEFAULT_TTL`, then `CACHE_DEFAULT_TTL`, then the file's `default_ttl`;
6. the defaults of the models.

So a variable for one type goes over the file, as all of the environment does, while the *default* TTL,
wherever it is set, holds only for types that nobody gave a TTL.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar, Unpack

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    SerializationInfo,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from stoker.core.errors import UsageError
from stoker.core.keys import check_type_name, shown
from stoker.core.settings.addresses import check_redis_url, with_parts
from stoker.core.settings.fields import fields_set, mapping
from stoker.core.settings.older_names import (
    ALL_TYPES,
    MAX_ENTRIES,
    ConfigArguments,
    in_their_places,
    left_to_stores,
)
from stoker.core.settings.policy import BUILTIN_TYPES, MemoryBytes, Model, Policy, PositiveSeconds
from stoker.core.settings.redaction import redact, redact_url, without_inputs
from stoker.core.settings.settings import (
    FROM_SETTINGS,
    Loaded,
    Origin,
    Setting,
    describe,
    load_settings,
    merged,
)

__all__ = [
    "CacheConfig",
    "Loaded",
    "Origin",
    "RedisConfig",
    "Setting",
    "describe",
    "load_config",
]

#: Root fields of stoker.yaml that the worker reads and the cache library leaves alone.
WORKER_FIELDS = frozenset({"broker", "worker", "beat", "schedule", "events", "metrics", "up", "logs"})

_PREFIX = re.compile(r"[^\s{}\x00-\x1f\x7f]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}")
_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def _check_prefix(prefix: str) -> str:
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} can't begin a key: use 1 to 64 characters, no spaces, no braces")
    return prefix


def _check_host(host: str) -> str:
    if not _HOST.fullmatch(host) and not _is_address(host):
        # Nothing of it is shown: any part of what stands here by mistake may be a password.
        raise ValueError(
            "this is no host alone, such as cache or ::1: give a URL as redis.url (redis_url), a port as "
            "redis.port (redis_port), a login as redis.username and redis.password"
        )
    return host


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_type(name: str) -> str:
    return name if name == ALL_TYPES else check_type_name(name)


def _check_module(name: str) -> str:
    if not _MODULE.fullmatch(name):
        raise ValueError(f"{name!r} is no module's name: write it as in `import shop.loaders`")
    return name


TypeName = Annotated[
    str,
    AfterValidator(_check_type),
    WithJsonSchema({"type": "string", "pattern": r"^(\*|[a-z][a-z0-9_]{0,63})$"}),
]
"""A cache type's name, or `*` for all."""

RedisUrl = Annotated[
    str,
    AfterValidator(check_redis_url),
    WithJsonSchema({"type": "string", "pattern": r"^((rediss?|valkeys?)(\+(cluster|sentinel))?|unix)://"}),
]
"""Where a Redis or Valkey server listens, or some of a cluster's, or the sentinels that know where it is."""

Host = Annotated[str, AfterValidator(_check_host)]
"""The name or address of a server, without its port."""

Prefix = Annotated[
    str,
    AfterValidator(_check_prefix),
    WithJsonSchema({"type": "string", "pattern": r"^[^\s{}]{1,64}$"}),
]
"""What every key in Redis begins with."""

Module = Annotated[str, AfterValidator(_check_module)]
"""The name of an importable module."""


class DiscreetModel(Model):
    """A part of the configuration that can hold secrets: its text shows none, nor do its errors."""

    model_config = ConfigDict(hide_input_in_errors=True)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Give pydantic the fields to show, without passwords."""
        return [(name, _discreet(name or "", value)) for name, value in super().__repr_args__()]

    @model_validator(mode="wrap")
    @classmethod
    def _tell_no_inputs(
        cls, given: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Take what was given out of the errors themselves; from files it is told, without secrets."""
        try:
            made: Self = cls._made_of(given, handler, info)
        except ValueError as error:
            if info.context is FROM_SETTINGS:
                raise
            raise without_inputs(cls.__name__, error) from None
        return made

    @classmethod
    def _made_of(cls, given: Any, make: Callable[[Any], Any], info: ValidationInfo) -> Any:  # noqa: ARG003  what derives from it asks
        return make(given)


def _discreet(name: str, value: Any) -> Any:
    """Return what a repr may show of a value."""
    if isinstance(value, DiscreetModel):
        return value
    if isinstance(value, BaseModel):
        return redact(name, value.model_dump(exclude_unset=True))
    if (named := mapping(value)) is not None:
        return {key: _discreet(key, part) for key, part in named.items()}
    return redact(name, value)


class RedisConfig(DiscreetModel):
    """The Redis or Valkey server that holds the caches."""

    url: RedisUrl = "redis://localhost:6379/0"
    """`redis://`, `rediss://` (TLS) or `unix://`; `valkey://` and `valkeys://` mean the same. A cluster is
    `redis+cluster://host:7000,host:7001`, a server that sentinels know of `redis+sentinel://host:26379/mymaster/0`."""
    host: Host | None = None
    """The server's host, in place of the URL's."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """The server's port, in place of the URL's."""
    db: int | None = Field(default=None, ge=0, le=99_999)
    """The database's number, in place of the URL's."""
    username: str | None = None
    """Who logs in, in place of the URL's user."""
    password: SecretStr | None = None
    """The password, in place of the URL's. It is shown nowhere."""
    keepalive: bool = True
    """Whether idle connections are probed (TCP keep-alive), so that one that is dead is found out."""
    max_connections: int = Field(default=50, ge=1, le=10_000)
    """Connections of the raw client (`CacheManager.client`) at most; the caches of a process share one."""
    connect_timeout: PositiveSeconds = 0.5
    """A connection that takes longer is given up."""
    timeout: PositiveSeconds = 0.1
    """An answer that takes longer is a miss."""
    enabled: bool = True
    """`false`: caches live in this process's memory alone, and no server is asked."""
    allow_eviction: bool = False
    """Whether the server may have an eviction policy that can remove the invalidation log (`allkeys-*`)."""
    wait_replicas: int = Field(default=0, ge=0, le=100)
    """An invalidation is acknowledged once so many replicas have it (`WAIT`)."""
    wait_aof: bool = False
    """An invalidation is acknowledged once the server has it on disk (`WAITAOF`, Redis 7.2 or Valkey)."""
    wait_timeout: PositiveSeconds = 1.0
    """Replicas or disk that take longer leave the invalidation unacknowledged."""

    _dumped: tuple[str, str] = PrivateAttr(default=("", ""))
    """The URL with the password that was given apart from it, and what a dump shows in its place."""

    @model_validator(mode="after")
    def _put_parts_together(self) -> Self:
        """Put the parts that are given in place of the URL's; everybody uses the URL."""
        secret = None if self.password is None else self.password.get_secret_value()
        parts = {"host": self.host, "port": self.port, "db": self.db, "username": self.username}
        if secret is None and not any(part is not None for part in parts.values()):
            return self
        url = check_redis_url(with_parts(self.url, **parts, password=secret))  # type: ignore[arg-type]
        object.__setattr__(self, "url", url)
        if secret is not None:
            self._dumped = url, check_redis_url(with_parts(url, password=""))
        return self

    @field_serializer("url")
    def _dump_url(self, url: str, info: SerializationInfo) -> str:
        """The password stands in its own field; in JSON, as of other secrets, nothing is shown of any."""
        whole, without = self._dumped
        shown = without if url == whole else url
        return redact_url(shown) if info.mode_is_json() else shown


class MemoryConfig(Model):
    """The memory that the types with a memory tier share in one process."""

    entries: int = Field(default=10_000, ge=1, le=MAX_ENTRIES)
    """At most so many entries."""
    bytes: MemoryBytes = 64 * 2**20
    """At most so many bytes, by the size of values as Python holds them."""


class CacheConfig(DiscreetModel):
    """All that the cache library needs to know."""

    prefix: Prefix = "stoker"
    """What every key in Redis begins with; two systems on one server need two prefixes."""
    namespace: str = ""
    """What the keys of a `MemoryCache`, `RedisCache` or `MultiLayerCache` begin with, if it is given none."""
    redis: RedisConfig = RedisConfig()
    """The server that holds the caches."""
    memory: MemoryConfig = MemoryConfig()
    """The memory tier's bounds."""
    default_ttl: PositiveSeconds = 3600.0
    """The TTL of types that have none of their own (the built-in ones have)."""
    request_metrics_ttl: PositiveSeconds = 86400.0
    """Request metrics (calls of models, their times and costs) are kept so long."""
    types: dict[TypeName, Policy] = Field(default_factory=dict, validate_default=True)
    """The cache types by name. The built-in ones are always there; what is given goes over single fields.
    What `"*"` says holds for all types that don't say otherwise."""
    loaders: list[Module] = Field(default_factory=list)
    """Modules to import, so that their loaders can be called by name."""

    if TYPE_CHECKING:

        def __init__(self, **arguments: Unpack[ConfigArguments]) -> None: ...

    _for_all: dict[str, Any] = PrivateAttr(default_factory=dict[str, Any])
    """What holds for types that say nothing else."""
    _said: dict[str, Any] = PrivateAttr(default_factory=dict[str, Any])
    """Older names of which a store knows better than the configuration what they mean."""

    @classmethod
    def _made_of(cls, given: Any, make: Callable[[Any], Any], info: ValidationInfo) -> Any:
        """Take the flat names of older systems as arguments; files and variables have the fields' own."""
        if (arguments := mapping(given)) is None:
            return make(given)
        said = left_to_stores(arguments)
        if info.context is not FROM_SETTINGS:
            arguments = in_their_places(arguments)
        made: Self = make(arguments)
        made._said.update(said)
        for_all = (mapping(arguments.get("types")) or {}).get(ALL_TYPES, {})
        made._for_all.update(fields_set(for_all))
        return made

    @field_validator("types", mode="before")
    @classmethod
    def _complete_types(cls, given: Any, info: ValidationInfo) -> Any:
        """Put the built-in types below what was given, and what holds for all types below both."""
        if (named := mapping(given)) is None:
            return given
        for_all = fields_set(named.get(ALL_TYPES, {}))
        if mapping(for_all) is None or not _is_policy(for_all):
            return given  # it is told what is wrong with that, once
        for_all = merged({"ttl": info.data.get("default_ttl", 3600.0)}, for_all)
        own = {str(name): fields_set(policy) for name, policy in named.items() if name != ALL_TYPES}
        types = merged(BUILTIN_TYPES, own)
        return {
            name: policy if mapping(policy) is None else merged(for_all, policy)
            for name, policy in types.items()
        }

    def with_type(self, name: str, usual: Mapping[str, Any] | None = None, **fields: Any) -> Self:
        """Return the configuration with one more type, or with other fields of one that there is.

        Args:
            name: The type's name.
            usual: What holds where nothing was configured for the type or for all.
            **fields: What holds whatever was configured.

        Raises:
            UsageError: Nothing can be called so.
            ValidationError: Such a policy can't be.
        """
        below = {"ttl": self.default_ttl, **(usual or {}), **self._for_all}
        own = self.types.get(check_type_name(name), Policy())
        policy = Policy.model_validate(merged(merged(below, fields_set(own)), fields))
        return self.model_copy(update={"types": {**self.types, name: policy}})

    def said_by(self, other: CacheConfig) -> Self:
        """Return the configuration with the older names that another one was made of."""
        made = self.model_copy()
        made._said = dict(other._said)  # noqa: SLF001
        return made

    def said(self, older_name: str) -> Any:
        """Return what was given as `backend`, or as one of the two sizes of memory where both were given."""
        return self._said.get(older_name)

    def policy(self, cache_type: str) -> Policy:
        """Return the policy of a type.

        Raises:
            UsageError: It is not configured.
        """
        try:
            return self.types[cache_type]
        except KeyError:
            known = ", ".join(sorted(self.types))
            raise UsageError(f"no cache type is called {shown(cache_type)}; there are: {known}") from None


def _is_policy(given: Any) -> bool:
    try:
        Policy.model_validate(given)
    except ValidationError:
        return False
    return True


ConfigT = TypeVar("ConfigT", bound=CacheConfig)


def load_config(
    model: type[ConfigT], path: Path | str | None = None, environ: Mapping[str, str] | None = None
) -> Loaded[ConfigT]:
    """Read the configuration, e.g. `load_config(CacheConfig).value`.

    Args:
        model: `CacheConfig`, or a class derived from it such as the worker's `StokerConfig`.
        path: The file; without it `$STOKER_CONFIG`, else `stoker.yaml` in the current directory if it is
            there, else none: the environment and the defaults alone.
        environ: The environment; the process's own where not given.

    Raises:
        ConfigError: All that is wrong, one thing a line, each with file and line or the variable, the field,
            and the values allowed.
    """
    loaded = load_settings(model, path, os.environ if environ is None else environ, foreign=WORKER_FIELDS)
    origins = dict(loaded.origins)
    for name in loaded.value.types:
        _trace_defaults(origins, f"types.{name}.", BUILTIN_TYPES.get(name, {}))
    for part in ("port", "host"):
        if origins["redis.url"].kind == "default" and origins[f"redis.{part}"].kind != "default":
            origins["redis.url"] = replace(origins[f"redis.{part}"], via=f"redis.{part}")
    return Loaded(loaded.value, origins, loaded.path)


def _trace_defaults(origins: dict[str, Origin], begin: str, own: Mapping[str, Any]) -> None:
    """Say where a type's settings came from that nobody gave it: from what holds for all types."""
    for place in [place for place in origins if place.startswith(begin)]:
        setting = place.removeprefix(begin)
        general = f"types.{ALL_TYPES}.{setting}"
        if origins[place].kind != "default" or setting.partition(".")[0] in own:
            continue
        if general in origins:
            origins[place] = replace(origins[general], via=general)
        elif setting == "ttl":
            origins[place] = replace(origins["default_ttl"], via="default_ttl")
