"""`python -m examples.sessions`."""

from __future__ import annotations

import asyncio
import sys

from examples.running import Report, cache_of, run, settings
from examples.sessions.sessions import MAX_ATTEMPTS, Sessions, TooManyAttemptsError
from stoker.core import CacheManager

ANN, BOB = 1, 2


async def main(url: str, report: Report) -> None:
    """Two web processes, two users."""
    config = settings(url, "sessions")
    async with cache_of(config) as first, CacheManager(config, recording=False) as second:
        here, there = Sessions(first), Sessions(second)
        phone, laptop, bobs = await here.sign_in(ANN), await there.sign_in(ANN), await here.sign_in(BOB)

        await here.put_into_cart(phone, "tea")
        await there.put_into_cart(phone, "cup")
        found = await here.find(phone)
        report.show(
            "both processes see and change one session",
            holds=found is not None and found.cart == ["tea", "cup"],
        )

        await first.expire("session", phone, 60)  # as if nobody had come for 29 minutes
        before = await first.ttl("session", phone) or 0.0
        await there.find(phone)
        after = await first.ttl("session", phone) or 0.0
        report.tell("life left, before and after a request", f"{before:.0f} s, {after:.0f} s")
        report.show("each request gives a session another half hour", holds=before <= 60 and after > 1700)

        await end(here, there, second, (phone, laptop, bobs), report)


async def end(
    here: Sessions, there: Sessions, cache: CacheManager, names: tuple[str, str, str], report: Report
) -> None:
    """Sessions end on one device, on all of them, and are not begun too often."""
    phone, laptop, bobs = names
    await here.sign_out(phone)
    report.show(
        "who signs out is out, and out on that device alone",
        holds=await there.find(phone) is None and await there.find(laptop) is not None,
    )

    acknowledged = await here.sign_out_everywhere(ANN)
    report.show(
        "who signs out everywhere is out in each process with the next request",
        holds=acknowledged and await there.find(laptop) is None and await there.find(bobs) is not None,
    )
    report.show(
        "a session that has ended can't be brought back by touching it",
        holds=not await cache.touch("session", laptop),
    )

    answers = await asyncio.gather(
        *(web.sign_in(BOB) for web in (here, there) * MAX_ATTEMPTS), return_exceptions=True
    )
    refused = sum(isinstance(answer, TooManyAttemptsError) for answer in answers)
    report.tell("sign-ins at once, and refused", f"{len(answers)}, {refused}")
    report.show("attempts are counted exactly, over all processes", holds=refused == MAX_ATTEMPTS + 1)


if __name__ == "__main__":
    sys.exit(run("Sessions: the cache is where they live", main))
