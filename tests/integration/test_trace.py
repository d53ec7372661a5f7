"""One id leads from an event over its record in the log to the load that it made needful."""

from __future__ import annotations

import logging

import pytest

from stoker.core import Key, loader, make_event
from stoker.core.events import apply_events
from stoker.core.warming.hotkeys import HotKeys
from stoker.core.warming.warming import warm
from tests.managers import make_manager
from tests.servers import RedisServer


def reloads(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.__dict__["trace"], record.__dict__["record"])
        for record in caplog.records
        if getattr(record, "action", "") == "reloaded"
    ]


@pytest.mark.parametrize("by", ["a reader", "warming"])
async def test_a_reload_names_the_event_and_the_record(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture, by: str
) -> None:
    @loader(f"{prefix}.traced", cache_type="product")
    async def load(number: int) -> int:
        return number

    async with (
        make_manager(redis_server, prefix, product={"warm": {"min_requests": 0}}) as service,
        make_manager(redis_server, prefix, product={"warm": {"min_requests": 0}}) as worker,
    ):
        await service.get_or_load("product", "7", load, 7)
        await HotKeys(service).flush()
        event = make_event(Key("product", "7"), event_id="order-17", source="shop")
        receipt = await apply_events(worker, [event])
        with caplog.at_level(logging.INFO, "stoker.core.loading.loads"):
            if by == "warming":
                assert (await warm(worker, "product")).loaded == 1
            else:
                await service.get_or_load("product", "7", load, 7)
        assert reloads(caplog) == [("order-17", receipt.log_id)]
