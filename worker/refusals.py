"""What a server that answers, but refuses, means by it, and what to do about it."""

from __future__ import annotations

import re

#: What to do, by the word that an error reply begins with (within a script's error it stands inside).
_REMEDIES = {
    "OOM": "it is full: raise maxmemory, or shorten TTLs",
    "MISCONF": "it can't save its data, so it takes no writes: look at its log and its disk",
    "READONLY": "it is a replica: point redis.url at the primary",
    "NOREPLICAS": "it has too few replicas to take writes: bring them back, or lower min-replicas-to-write",
    "MASTERDOWN": "it is a replica that lost its primary: point redis.url at the primary",
    "CLUSTERDOWN": "its cluster is incomplete: bring the missing nodes back",
    "NOPERM": "give the user of redis.url the right to it (ACL SETUSER)",
    "NOAUTH": "set the password in redis.url",
    "WRONGPASS": "correct the user and the password in redis.url",
    "LOADING": "it is loading its data: wait until it has",
    "BUSY": "it is busy with a script: wait, or end that (SCRIPT KILL)",
    "WRONGTYPE": "a key below {prefix!r} holds something that is not Stoker's: `stoker doctor` names it; "
    "delete that key, or choose another prefix",
}

#: The same, of clients that take that word off.
_PHRASES = {
    "used memory > 'maxmemory'": "OOM",
    "read only replica": "READONLY",
    "no permissions": "NOPERM",
    "uthentication required": "NOAUTH",
    "invalid username-password": "WRONGPASS",
    "is loading the dataset": "LOADING",
    "unable to persist": "MISCONF",
}

_WORD = re.compile(rf"\b({'|'.join(_REMEDIES)})\b")

#: How an error reply begins, whatever it is about.
_REPLY = re.compile(r"[A-Z]{3,} ")


def is_refusal(reason: str) -> bool:
    """Say whether a server spoke, rather than the network.

    >>> is_refusal("OOM command not allowed"), is_refusal("ERR unknown command"), is_refusal("no reply")
    (True, True, False)
    """
    return bool(_REPLY.match(reason)) or _code(reason) is not None


def remedy(reason: str, prefix: str) -> str | None:
    """What to do about an error reply; None where that isn't known.

    >>> remedy("READONLY You can't write against a read only replica.", "shop")
    'it is a replica: point redis.url at the primary'
    """
    code = _code(reason)
    return _REMEDIES[code].format(prefix=f"{prefix}:") if code else None


def _code(reason: str) -> str | None:
    if found := _WORD.search(reason):
        return found[1]
    return next((code for phrase, code in _PHRASES.items() if phrase in reason), None)
