"""What becomes of a store: by what the server said, whether others were told, and where its type is kept."""

from __future__ import annotations

import pytest

from stoker.core.entries.commits import Commit
from stoker.core.entries.outcome import Outcome, outcome_of
from stoker.core.settings.policy import Policy

FAR, NEAR = Policy(tiers=("redis",)), Policy(tiers=("memory", "redis"))
ALONE = Policy(tiers=("memory",))
PAST = Policy(tiers=("memory", "redis"), on_outage="bypass")
SOURCE = Policy(tiers=("memory", "redis"), kind="authoritative")
SERVED = Policy(tiers=("memory", "redis"), kind="authoritative", on_outage=30)
STORED, AWAY, UNKNOWN = Commit.STORED, Commit.UNREACHABLE, Commit.UNKNOWN
NOBODY, NOT_TOLD, TOLD = None, 0, 5
BOTH, HERE, STANDS_IN = Outcome.BOTH, Outcome.HERE, Outcome.STANDS_IN
REFUSED, WITHDRAWN = Outcome.REFUSED, Outcome.WITHDRAWN


@pytest.mark.parametrize(
    ("commit", "told", "policy", "loaded", "set_by_a_caller", "on_a_condition"),
    [
        (STORED, NOBODY, FAR, Outcome.STORED, Outcome.STORED, Outcome.STORED),
        (STORED, NOBODY, NEAR, BOTH, BOTH, BOTH),
        (STORED, TOLD, NEAR, Outcome.STORED, Outcome.STORED, Outcome.STORED),
        (STORED, NOT_TOLD, NEAR, Outcome.STORED, Outcome.STORED, Outcome.STORED),
        (AWAY, NOBODY, FAR, REFUSED, REFUSED, REFUSED),
        (UNKNOWN, NOBODY, FAR, REFUSED, REFUSED, REFUSED),
        (AWAY, NOBODY, NEAR, HERE, STANDS_IN, REFUSED),
        (UNKNOWN, TOLD, NEAR, None, WITHDRAWN, WITHDRAWN),
        (UNKNOWN, NOT_TOLD, NEAR, HERE, STANDS_IN, WITHDRAWN),
        (AWAY, NOBODY, PAST, HERE, REFUSED, REFUSED),
        (UNKNOWN, NOT_TOLD, PAST, HERE, WITHDRAWN, WITHDRAWN),
        (AWAY, NOBODY, SOURCE, REFUSED, REFUSED, REFUSED),
        (UNKNOWN, NOT_TOLD, SOURCE, WITHDRAWN, WITHDRAWN, WITHDRAWN),
        (AWAY, NOBODY, SERVED, REFUSED, REFUSED, REFUSED),
        (UNKNOWN, NOT_TOLD, SERVED, WITHDRAWN, WITHDRAWN, WITHDRAWN),
        (AWAY, NOBODY, ALONE, HERE, HERE, HERE),
        (AWAY, TOLD, ALONE, HERE, HERE, HERE),
        (AWAY, NOT_TOLD, ALONE, WITHDRAWN, WITHDRAWN, WITHDRAWN),
    ],
)
def test_what_becomes_of_a_store(
    commit: Commit,
    told: int | None,
    policy: Policy,
    loaded: Outcome | None,
    set_by_a_caller: Outcome,
    on_a_condition: Outcome,
) -> None:
    if loaded is not None:  # of what a loader stores nobody is told
        assert outcome_of(commit, told, policy, overwrites=False, conditional=False) is loaded
    assert outcome_of(commit, told, policy, overwrites=True, conditional=False) is set_by_a_caller
    assert outcome_of(commit, told, policy, overwrites=True, conditional=True) is on_a_condition


@pytest.mark.parametrize("commit", [Commit.YOUNGER, Commit.OTHER_EPOCH, Commit.FENCED, Commit.LOG_LOST])
@pytest.mark.parametrize("policy", [FAR, NEAR, ALONE, PAST, SOURCE, SERVED])
@pytest.mark.parametrize("told", [NOBODY, NOT_TOLD, TOLD])
@pytest.mark.parametrize("overwrites", [False, True])
@pytest.mark.parametrize("conditional", [False, True])
def test_what_history_has_overtaken_is_refused_whatever_else(
    commit: Commit, policy: Policy, told: int | None, overwrites: bool, conditional: bool
) -> None:
    outcome = outcome_of(commit, told, policy, overwrites=overwrites, conditional=conditional)
    assert outcome is Outcome.REFUSED
