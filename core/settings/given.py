"""The configuration of a cache that is given none: the environment's, and what its arguments say over it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from stoker.core.errors import UsageError
from stoker.core.settings.config import WORKER_FIELDS, CacheConfig
from stoker.core.settings.fields import fields_set, mapping
from stoker.core.settings.older_names import in_their_places
from stoker.core.settings.settings import merged, settings_of_environment

#: Where the server is, and who logs in: an argument that names a server replaces all that others say of it.
_ADDRESS = frozenset({"url", "host", "port", "db", "username", "password"})


def from_environment(
    arguments: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> CacheConfig:
    """Return the configuration of a cache that is given none; no file is read, as by `load_config`.

    Args:
        arguments: As of `CacheConfig`; they go over the environment, field by field. One that names the
            server (`url`, `redis_host`) replaces all that the environment says of its address and login.
        environ: The environment; the process's own where not given.

    Raises:
        ConfigError: All that is wrong with the environment, one thing a line.
        UsageError: The arguments can't be used.
    """
    environment = os.environ if environ is None else environ
    value, below = settings_of_environment(CacheConfig, environment, foreign=WORKER_FIELDS)
    if not arguments:
        return value
    try:
        alone = CacheConfig(**arguments)
        over = {name: fields_set(part) for name, part in in_their_places(arguments).items()}
        redis = mapping(over.get("redis")) or {}
        if redis.keys() & {"url", "host"} and "redis" in below:
            below["redis"] = {name: part for name, part in below["redis"].items() if name not in _ADDRESS}
        return CacheConfig.model_validate(merged(below, over)).said_by(alone)
    except ValidationError as error:
        said = "; ".join(_told(detail["loc"], detail["msg"]) for detail in error.errors(include_input=False))
        raise UsageError(f"these arguments can't be used: {said}") from None


def check_config(owner: type, config: Any, hint: str) -> None:
    """Refuse what was given in place of a configuration; nothing of it is shown, as it may hold a password.

    Args:
        owner: Whose configuration it would be.
        config: What was given.
        hint: What to write.

    Raises:
        UsageError: It is none.
    """
    if config is not None and not isinstance(config, CacheConfig):
        raise UsageError(f"{owner.__name__} takes a CacheConfig, not {type(config).__name__}: write {hint}")


def _told(place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(map(str, place))
    text = message.removeprefix("Value error, ")
    return f"{where}: {text}" if where else text
