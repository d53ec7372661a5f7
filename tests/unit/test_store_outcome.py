"""What becomes of a store: by what the server said, whether others were told, and where its type is kept."""

from __future__ import annotations

import pytest

from stoker.core.entries.commits import Commit
from stoker.core.entries.outcome import Origin, Outcome, outcome_of
from stoker.core.settings.policy import Policy

FAR, NEAR = Policy(tiers=("redis",)), Policy(tiers=("memory", "redis"))
ALONE = Policy(tiers=("memory",))
PAST = Policy(tiers=("memory", "redis"), on_outage="bypass")
SOURCE = Policy(tiers=("memory", "redis"), kind="authoritative")
SERVED = Policy(tiers=("memory", "redis"), kind="authoritative", on_outage=30)
STORED, AWAY, UNKNOWN, ERROR = Commit.STORED, Commit.UNREACHABLE, Commit.UNKNOWN, Commit.REFUSED
NOBODY, NOT_TOLD, TOLD = None, 0, 5
BOTH, HERE, STANDS_IN = Outcome.BOTH, Outcome.HERE, Outcome.STANDS_IN
REFUSED, WITHDRAWN = Outcome.REFUSED, Outcome.WITHDRAWN


@pytest.mark.parametrize(
    ("commit", "policy", "loaded", "vouched"),
    [
        (STORED, FAR, Outcome.STORED, Outcome.STORED),
        (STORED, NEAR, BOTH, BOTH),
        (AWAY, FAR, REFUSED, REFUSED),
        (UNKNOWN, FAR, REFUSED, REFUSED),
        (ERROR, FAR, REFUSED, REFUSED),
        (AWAY, NEAR, HERE, HERE),
        (UNKNOWN, NEAR, HERE, HERE),
        (ERROR, NEAR, HERE, REFUSED),
        (AWAY, PAST, HERE, HERE),
        (UNKNOWN, PAST, HERE, HERE),
        (ERROR, PAST, HERE, REFUSED),
        (AWAY, SOURCE, HERE, REFUSED),
        (UNKNOWN, SOURCE, HERE, WITHDRAWN),
        (ERROR, SOURCE, HERE, REFUSED),
        (AWAY, SERVED, HERE, REFUSED),
        (UNKNOWN, SERVED, HERE, WITHDRAWN),
        (ERROR, SERVED, HERE, REFUSED),
        (AWAY, ALONE, HERE, HERE),
    ],
)
def test_what_becomes_of_a_store_that_nobody_need_be_told_of(
    commit: Commit, policy: Policy, loaded: Outcome, vouched: Outcome
) -> None:
    assert outcome_of(commit, NOBODY, policy, Origin.LOADED, conditional=False) is loaded
    assert outcome_of(commit, NOBODY, policy, Origin.VOUCHED, conditional=False) is vouched


@pytest.mark.parametrize(
    ("commit", "told", "policy", "computed", "on_a_condition"),
    [
        (STORED, NOBODY, FAR, Outcome.STORED, Outcome.STORED),
        (STORED, TOLD, NEAR, Outcome.STORED, Outcome.STORED),
        (STORED, NOT_TOLD, NEAR, Outcome.STORED, Outcome.STORED),
        (AWAY, NOBODY, FAR, REFUSED, REFUSED),
        (UNKNOWN, NOBODY, FAR, REFUSED, REFUSED),
        (ERROR, NOBODY, FAR, REFUSED, REFUSED),
        (AWAY, NOBODY, NEAR, STANDS_IN, REFUSED),
        (UNKNOWN, TOLD, NEAR, WITHDRAWN, WITHDRAWN),
        (UNKNOWN, NOT_TOLD, NEAR, STANDS_IN, WITHDRAWN),
        (ERROR, NOBODY, NEAR, REFUSED, REFUSED),
        (AWAY, NOBODY, PAST, REFUSED, REFUSED),
        (UNKNOWN, NOT_TOLD, PAST, WITHDRAWN, WITHDRAWN),
        (ERROR, NOBODY, PAST, REFUSED, REFUSED),
        (AWAY, NOBODY, SOURCE, REFUSED, REFUSED),
        (UNKNOWN, NOT_TOLD, SOURCE, WITHDRAWN, WITHDRAWN),
        (ERROR, NOBODY, SOURCE, REFUSED, REFUSED),
        (AWAY, NOBODY, SERVED, REFUSED, REFUSED),
        (UNKNOWN, NOT_TOLD, SERVED, WITHDRAWN, WITHDRAWN),
        (ERROR, NOBODY, SERVED, REFUSED, REFUSED),
        (AWAY, NOBODY, ALONE, HERE, HERE),
        (AWAY, TOLD, ALONE, HERE, HERE),
        (AWAY, NOT_TOLD, ALONE, WITHDRAWN, WITHDRAWN),
    ],
)
def test_what_becomes_of_a_store_that_others_are_told_of(
    commit: Commit, told: int | None, policy: Policy, computed: Outcome, on_a_condition: Outcome
) -> None:
    assert outcome_of(commit, told, policy, Origin.COMPUTED, conditional=False) is computed
    assert outcome_of(commit, told, policy, Origin.COMPUTED, conditional=True) is on_a_condition


@pytest.mark.parametrize("commit", [Commit.YOUNGER, Commit.OTHER_EPOCH, Commit.FENCED, Commit.LOG_LOST])
@pytest.mark.parametrize("policy", [FAR, NEAR, ALONE, PAST, SOURCE, SERVED])
@pytest.mark.parametrize("told", [NOBODY, NOT_TOLD, TOLD])
@pytest.mark.parametrize("origin", list(Origin))
@pytest.mark.parametrize("conditional", [False, True])
def test_what_history_has_overtaken_is_refused_whatever_else(
    commit: Commit, policy: Policy, told: int | None, origin: Origin, conditional: bool
) -> None:
    assert outcome_of(commit, told, policy, origin, conditional=conditional) is Outcome.REFUSED
