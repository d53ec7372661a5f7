"""What becomes of a store, once the server has answered, and other processes were told."""

from __future__ import annotations

import enum

from stoker.core.entries.commits import Commit
from stoker.core.settings.policy import Policy

#: Commits that leave a value to memory: the server has not taken it. All others: history has overtaken it.
_NOT_TAKEN = frozenset({Commit.UNREACHABLE, Commit.UNKNOWN, Commit.REFUSED})


class Origin(enum.Enum):
    """Where a value that is to be stored comes from."""

    LOADED = "loaded"
    """From a loader. Nobody is told: who has an older value has a valid one."""
    COMPUTED = "computed"
    """From a caller, since a miss or a token. Others may have something else in memory, and are told once it
    is stored; what an invalidation has overtaken is not stored."""
    VOUCHED = "vouched"
    """From a caller who vouches for it as of a record that has told the others already."""


class Outcome(enum.Enum):
    """What a store has led to, and what this process's memory is to do about it."""

    STORED = "stored"
    """On the server. What is in memory goes: whoever stored last has not always been the last to tell; the
    next read fetches it."""
    BOTH = "both"
    """On the server, and to be kept in memory."""
    HERE = "here"
    """To be kept in memory, and stored if it is."""
    STANDS_IN = "stands in"
    """To be kept in memory, and served from there while the server is away; then what that holds counts."""
    REFUSED = "refused"
    """Not stored; what is in memory is none of its business."""
    WITHDRAWN = "withdrawn"
    """Not stored, for others could not be told, or nobody knows whether it is: what is in memory may be out
    of date, and goes."""


def outcome_of(
    commit: Commit, told: int | None, policy: Policy, origin: Origin, *, conditional: bool
) -> Outcome:
    """Say what has become of a store.

    Args:
        commit: What the server said; `UNREACHABLE` where it was not to be asked, or not asked.
        told: The position of the record that has dropped all copies of the entry, 0 where it could not be
            appended; None: nobody had to be told.
        policy: The type's policy.
        origin: Where the value comes from. A loader's is valid wherever it is; of a caller's, what the server
            has may be younger.
        conditional: Whether it was to be stored on a condition. What two must not both have is nobody's who
            has it in memory alone.
    """
    if commit is Commit.STORED:
        return Outcome.BOTH if policy.in_memory and told is None else Outcome.STORED
    if commit not in _NOT_TAKEN or not policy.in_memory:
        return Outcome.REFUSED
    if not policy.in_redis:
        return Outcome.WITHDRAWN if told == 0 else Outcome.HERE
    if not conditional and not told and _is_good_alone(commit, policy, origin):
        return Outcome.STANDS_IN if origin is Origin.COMPUTED else Outcome.HERE
    return Outcome.WITHDRAWN if commit is Commit.UNKNOWN else Outcome.REFUSED


def _is_good_alone(commit: Commit, policy: Policy, origin: Origin) -> bool:
    """Whether a value that the server has not taken may be kept in this process alone."""
    if origin is Origin.LOADED:
        return True
    if commit is Commit.REFUSED or policy.kind == "authoritative":
        return False
    return origin is Origin.VOUCHED or policy.outage_seconds > 0
