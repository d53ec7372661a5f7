"""The rules of leases; the model is `leases`."""

from __future__ import annotations

from tests.models.explorer import STUCK, Rule
from tests.models.kinds import SECOND, STALE

RULES = (
    Rule(
        "looks-after-waiting",
        STALE,
        "a tag",
        "who is told that the load has ended looks the entry up, as of now",
        "the holder's load began before an invalidation that the waiter must obey",
    ),
    Rule(
        "only-if-free",
        SECOND,
        "two processes",
        "a lease is taken only if nobody has it",
        "every process loads",
    ),
    Rule(
        "looks-when-granted",
        SECOND,
        "two processes",
        "who gets the lease after having waited, or sees another entry than before, looks again first",
        "it loads once more what its predecessor has just stored",
    ),
    Rule(
        "own-token",
        SECOND,
        "a lease lapses",
        "a lease is given back only by the holder whose token it bears",
        "a holder that was suspended frees its successor's lease, and a third one loads",
    ),
    Rule(
        "lapses",
        STUCK,
        "a holder dies",
        "a lease has a life of its own, that its holder renews",
        "a holder that died blocks the key",
    ),
    Rule(
        "asks-again",
        STUCK,
        "a holder dies",
        "who waits asks for the lease again now and then",
        "nobody tells them that the holder has died",
    ),
)
