"""What the server's counts say about events that were removed unread."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stoker.worker.unread import Loss, Standing, loss

#: Ten were added, all are there, the group was given four.
STANDING = Standing(10, (1, 0), (10, 0), 10, (0, 0), (4, 0), 4, 6)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, None),
        ({"length": 6, "first": (5, 0)}, None),
        ({"length": 4, "first": (7, 0)}, Loss(2, exact=True, read=6)),
        ({"length": 0, "first": None}, Loss(6, exact=True, read=10)),
        ({"delivered": (10, 0), "read": 10, "length": 0, "first": None}, None),
        ({"delivered": (10, 0), "read": 7}, Loss(3, exact=True, read=10)),  # a read has jumped over a gap
        ({"delivered": (0, 0), "read": None}, None),
        ({"delivered": (0, 0), "read": None, "length": 6, "first": (5, 0)}, Loss(4, exact=True, read=4)),
        ({"deleted": (6, 0), "length": 9}, Loss(1, exact=False, read=5)),
        ({"deleted": (3, 0), "length": 9}, None),
        ({"read": None, "length": 4, "first": (7, 0)}, Loss(1, exact=False, read=None)),
        ({"read": None, "delivered": (10, 0), "length": 0, "first": None}, None),
        # Redis 6: no counts
        ({"added": None, "read": None}, None),
        ({"added": None, "read": None, "first": (7, 0)}, Loss(1, exact=False, read=None)),
        ({"added": None, "read": None, "first": None, "delivered": (10, 0)}, None),
        ({"added": None, "read": None, "first": (7, 0), "delivered": (0, 0)}, None),
    ],
)
def test_a_loss_is_told_from_the_counts(changed: dict[str, object], expected: Loss | None) -> None:
    assert loss(replace(STANDING, **changed)) == expected  # type: ignore[arg-type]
