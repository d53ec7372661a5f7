"""The names of all that Stoker keeps in Redis, in one place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stoker.core.errors import UsageError

#: Characters in a type's name; no colon, so `type:key` is split at its first one.
_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

#: The longest logical key, in characters. Longer ones are for the caller to hash.
MAX_KEY_LENGTH = 512

#: Characters of what a caller gave that messages show at most.
SHOWN_CHARACTERS = 80

#: Seconds in a bucket of request metrics.
REQUESTS_SECONDS = 3600


def shown(value: Any) -> str:
    """Return how a message shows what a caller gave: not all of it, as it may be a prompt, or large."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def is_type_name(name: str) -> bool:
    """Return whether a cache type may be called so."""
    return _TYPE_NAME.fullmatch(name) is not None


def check_type_name(name: str) -> str:
    """Return `name` if a cache type may be called so, else raise `UsageError`."""
    check_text("a cache type's name", name)
    if not is_type_name(name):
        raise UsageError(
            f"{shown(name)} can't name a cache type: use a lower-case letter, then up to 63 of a-z, 0-9 and _"
        )
    return name


def check_text(what: str, text: Any) -> bytes:
    """Return a text as UTF-8.

    Raises:
        UsageError: It is no text, or one that UTF-8 can't hold.
    """
    if not isinstance(text, str):
        hint = "decode it" if isinstance(text, bytes) else f"write str({shown(text)})"
        raise UsageError(f"{what} is a str, not {type(text).__name__}: {hint}")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} can't hold half a surrogate pair: {shown(text)}") from None


def check_key(key: str) -> str:
    """Return `key` if an entry may be stored under it, else raise `UsageError`."""
    if type(key) is str and key.isascii() and 0 < len(key) <= MAX_KEY_LENGTH:
        return key
    check_text("a key", key)
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise UsageError(f"a key has 1 to {MAX_KEY_LENGTH} characters, this one {len(key)}: hash long texts")
    return key


def several(what: str, texts: Iterable[str]) -> Iterable[str]:
    """Return what was given where several texts are meant.

    Raises:
        UsageError: It is one text, each letter of which would count as one; or nothing that holds any.
    """
    if isinstance(texts, str | bytes):
        raise UsageError(f"{what} are several texts: write [{shown(texts)}] for one")
    if not isinstance(texts, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{what} are several texts, not {type(texts).__name__}")
    return texts


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds the Redis keys below one prefix; docs/wire-format.md lists them with their bounds."""

    prefix: str = "stoker"
    clustered: bool = False
    """Whether keys that one script needs must be in one Cluster slot."""

    @property
    def log(self) -> str:
        """The invalidation log (a stream, bounded by the sweep)."""
        return f"{self.prefix}:log"

    @property
    def fence(self) -> str:
        """Beside the log: `<epoch>:<id>:<floor>`; commits born before the id are refused."""
        return f"{self.prefix}:fence:{{{self.log}}}" if self.clustered else f"{self.prefix}:fence"

    @property
    def events(self) -> str:
        """The stream on which other services publish events (bounded by MAXLEN)."""
        return f"{self.prefix}:events"

    @property
    def dead_events(self) -> str:
        """Events that could not be read, each with the reason (a stream, bounded by MAXLEN)."""
        return f"{self.prefix}:events:dead"

    def entry(self, cache_type: str, key: str) -> str:
        """An entry (a string with a TTL); the braces keep entry and lease in one Cluster slot."""
        return f"{self.prefix}:e:{{{cache_type}:{key}}}"

    def lease(self, cache_type: str, key: str) -> str:
        """The right to load a key (a string with a TTL), in the entry's own slot."""
        return f"{self.prefix}:l:{{{cache_type}:{key}}}"

    def counter(self, cache_type: str, key: str) -> str:
        """A counter (an integer with a TTL), in the slot of the entry of its name."""
        return f"{self.prefix}:n:{{{cache_type}:{key}}}"

    def parse(self, entry: bytes) -> tuple[str, str]:
        """The cache type and the key of an entry's Redis key."""
        cache_type, _, key = entry[len(self.prefix.encode()) + 4 : -1].decode(errors="replace").partition(":")
        return cache_type, key

    @property
    def all_entries(self) -> str:
        """A SCAN pattern over all entries of all types."""
        return f"{glob_escape(self.prefix)}:e:{{*"

    def entries(self, cache_type: str, pattern: str) -> str:
        """A SCAN pattern over the entries of a type whose key matches a glob."""
        return f"{glob_escape(self.prefix)}:e:{{{cache_type}:{pattern}}}"

    def hot(self, cache_type: str, bucket: int) -> str:
        """Access counts of one time bucket (a sorted set, bounded, with a TTL)."""
        return f"{self.prefix}:hot:{cache_type}:{bucket}"

    def recipe(self, cache_type: str) -> str:
        """Recipes of hot keys (a hash of key to recipe, bounded, with a TTL)."""
        return f"{self.prefix}:recipe:{cache_type}"

    def hits(self, bucket: int, width: int) -> str:
        """Counters of one bucket of `width` seconds (a hash of `type|process|counter`, with a TTL)."""
        return f"{self.prefix}:hits:{bucket}:{width}"

    def requests(self, bucket: int) -> str:
        """Calls of models within an hour (a stream, bounded by MAXLEN, with a TTL)."""
        return f"{self.prefix}:requests:{bucket}"

    def rate(self, cache_type: str) -> str:
        """Hit rates as last computed (a hash of window to rate, with a TTL)."""
        return f"{self.prefix}:rate:{cache_type}"

    @property
    def rates(self) -> str:
        """SCAN pattern over the computed hit rates of all types."""
        return f"{glob_escape(self.prefix)}:rate:*"

    def switch(self, name: str) -> str:
        """When old entries began to be read (a string with a TTL), by the name of the switch."""
        return f"{self.prefix}:switch:{name}"

    @property
    def paused(self) -> str:
        """The types whose warming is paused (a hash of type to reason, as many as types)."""
        return f"{self.prefix}:paused"

    def process(self, component: str, identity: str) -> str:
        """A running component's heartbeat (a hash with a TTL)."""
        return f"{self.prefix}:process:{component}:{identity}"

    @property
    def processes(self) -> str:
        """The running processes (a sorted set of `component:identity` to unix time, bounded, with a TTL)."""
        return f"{self.prefix}:processes"

    @property
    def sizes(self) -> str:
        """Entries of each type, as last counted (a hash, with a TTL)."""
        return f"{self.prefix}:sizes"

    def run(self, job: str, run_id: str) -> str:
        """What one run of a job planned, did and failed at (a hash with a TTL)."""
        return f"{self.prefix}:run:{job}:{run_id}"

    def run_lock(self, job: str, subject: str) -> str:
        """Held while a job works on a subject (a string with a TTL)."""
        return f"{self.prefix}:run:{job}:lock:{subject}"

    def run_last(self, job: str, subject: str) -> str:
        """When a job last worked on a subject (a string with a TTL)."""
        return f"{self.prefix}:run:{job}:last:{subject}"

    def run_idle(self, job: str, subject: str) -> str:
        """There while a job that found nothing to do need not record it again (a string with a TTL)."""
        return f"{self.prefix}:run:{job}:idle:{subject}"

    def run_totals(self, job: str) -> str:
        """What all runs of a job did (a hash, with a TTL)."""
        return f"{self.prefix}:run:{job}:totals"

    def runs(self, job: str) -> str:
        """The newest runs of a job (a list of ids, bounded, with a TTL)."""
        return f"{self.prefix}:runs:{job}"

    @property
    def beat(self) -> str:
        """The beat leader's lease (a string with a TTL)."""
        return f"{self.prefix}:beat:leader"

    @property
    def beat_last(self) -> str:
        """When each schedule entry last ran (a hash of entry to unix time, as many as entries)."""
        return f"{self.prefix}:beat:last"


def glob_escape(text: str) -> str:
    r"""Escape a text so that a glob pattern holding it matches just that text.

    >>> glob_escape("user:[1]*")
    'user:\\[1\\]\\*'
    """
    return re.sub(r"([*?\[\]^\\-])", r"\\\1", text)
