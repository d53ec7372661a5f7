"""Which server of a cluster a command belongs to: its keys, their hash slots, and what redirections say."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Callable, Sequence
from typing import Any

from stoker.core.errors import ReplyError
from stoker.core.link.calls import Argument, Command

Address = tuple[str, int]

SLOTS = 16384

#: Commands without a key: they go to the server that holds the invalidation log.
_KEYLESS = frozenset({
    "ACL", "ASKING", "AUTH", "BGREWRITEAOF", "BGSAVE", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE",
    "DISCARD", "ECHO", "EXEC", "FAILOVER", "FLUSHALL", "FLUSHDB", "HELLO", "INFO", "KEYS", "LASTSAVE",
    "LATENCY", "MODULE", "MULTI", "PING", "PSUBSCRIBE", "PUBLISH", "PUBSUB", "PUNSUBSCRIBE", "RANDOMKEY",
    "READONLY", "READWRITE", "RESET", "ROLE", "SAVE", "SCAN", "SCRIPT", "SELECT", "SHUTDOWN", "SLOWLOG",
    "SUBSCRIBE", "SWAPDB", "TIME", "UNSUBSCRIBE", "UNWATCH", "WAIT", "WAITAOF",
})  # fmt: skip

#: Commands whose key follows a subcommand.
_SECOND = frozenset({"XINFO", "XGROUP", "OBJECT", "MEMORY", "DEBUG"})

#: Commands whose arguments are all keys, with what makes one reply out of those to the parts.
_EACH: dict[str, Callable[[Sequence[Any]], Any]] = {
    "MGET": lambda replies: [reply[0] for reply in replies],
    "UNLINK": sum,
    "DEL": sum,
    "EXISTS": sum,
    "TOUCH": sum,
}


def slot_of(key: Argument) -> int:
    """The hash slot of a key: of what stands between its first braces, if anything does.

    >>> slot_of("stoker:e:{product:42}") == slot_of("product:42")
    True
    """
    name = key if isinstance(key, bytes) else str(key).encode()
    start = name.find(b"{")
    if start >= 0:
        end = name.find(b"}", start + 1)
        if end > start + 1:
            name = name[start + 1 : end]
    return crc_hqx(name, 0) % SLOTS


def key_of(command: Command) -> Argument | None:
    """The first key of a command; None where it has none.

    >>> key_of(("XREAD", "COUNT", 1, "STREAMS", "log", "0-0"))
    'log'
    """
    name = _text(command[0])
    if name in _KEYLESS:
        return None
    at = 1
    if name.startswith(("EVAL", "FCALL")):
        at = 3 if len(command) > 3 and int(command[2]) > 0 else len(command)
    elif name in _SECOND:
        at = 2
    elif name in {"XREAD", "XREADGROUP"}:
        words = [_text(word) for word in command]
        at = words.index("STREAMS", 4 if name == "XREADGROUP" else 1) + 1
    return command[at] if len(command) > at else None


def split(command: Command) -> tuple[list[Command], Callable[[Sequence[Any]], Any]] | None:
    """Take a command apart that names several keys and may be sent once for each.

    Returns:
        The parts, and what makes the whole's reply of theirs; None where it is to be sent as it is.
    """
    join = _EACH.get(_text(command[0]))
    if join is None or len(command) <= 2:
        return None
    return [(command[0], key) for key in command[1:]], join


def owners_by(reply: Any, asked: Address) -> list[Address | None]:
    """The owner of each slot, by the reply to CLUSTER SLOTS; a server may leave its own host out."""
    owners: list[Address | None] = [None] * SLOTS
    for start, end, (host, port, *_), *_ in reply:
        named = (host or b"").decode()
        address = (asked[0] if named in {"", "?"} else named, int(port))
        owners[start : end + 1] = [address] * (end + 1 - start)
    return owners


def slots_by(reply: bytes) -> str:
    """What a server owns, by its reply to CLUSTER NODES; slots on their way to or from it are in brackets."""
    for line in reply.decode(errors="replace").splitlines():
        words = line.split(" ")
        if "myself" in words[2]:
            return " ".join(words[8:])
    return ""


def redirection(error: ReplyError, asked: Address) -> tuple[str, Address | None]:
    """The kind of an error, and the server that it names if it is a redirection."""
    kind, *rest = str(error).split(" ")
    if kind not in {"MOVED", "ASK"} or len(rest) < 2:
        return kind, None
    host, _, port = rest[1].rpartition(":")
    return kind, (host or asked[0], int(port))


def _text(word: Argument) -> str:
    return (word.decode(errors="replace") if isinstance(word, bytes) else str(word)).upper()
