"""docs/metrics.md, the rules and the dashboard name the series that the real collectors give, no others."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric

from stoker.core import CacheManager
from stoker.core.maintenance.heartbeat import Heartbeat
from stoker.core.maintenance.sizes import measure_sizes
from stoker.core.metrics.collectors import ProcessCollector
from stoker.core.warming.rates import CounterFlush, compute_hit_rates
from stoker.core.warming.warming import warm
from stoker.worker.exporter import scrape
from tests.deployment import ROOT, dashboard, expressions, labels_in, names_in, rules
from tests.managers import make_manager
from tests.servers import RedisServer

GROUP = "stoker"

#: What Prometheus itself adds to each scrape.
OF_PROMETHEUS = {"up"}

#: What Prometheus adds to each series, and its functions to theirs.
LABELS_OF_PROMETHEUS = {"job", "instance", "le", "quantile"}

_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


async def use(manager: CacheManager) -> None:
    """Do a bit of everything, so that nothing is left out for want of samples."""
    await manager.set("product", "1", "tea")
    await manager.get("product", "1")
    await CounterFlush(manager).flush()
    await compute_hit_rates(manager)
    await measure_sizes(manager)
    await warm(manager, "product")
    await manager.link.call("XADD", manager.keys.events, "MAXLEN", 10, "*", "d", "{}")
    await manager.link.call("XGROUP", "CREATE", manager.keys.events, GROUP, "0")
    await Heartbeat(manager, "worker").beat()


async def families(server: RedisServer, prefix: str) -> dict[str, list[Metric]]:
    """What a service and the exporter give, by who gives it."""
    async with make_manager(server, prefix, product={"ttl": 60}) as manager:
        await use(manager)
        return {
            "service": list(ProcessCollector(manager).collect()),
            "exporter": await scrape(manager, GROUP),
        }


def labels_of(family: Any) -> set[str]:
    """The labels of a family, those of a histogram's buckets aside."""
    return set(family._labelnames)


def documented() -> dict[tuple[str, str], tuple[str, set[str], str]]:
    """The tables of docs/metrics.md: (who, name) to (type, labels, meaning)."""
    found: dict[tuple[str, str], tuple[str, set[str], str]] = {}
    who = ""
    for line in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            who = "service" if "service" in line else "exporter" if "exporter" in line else ""
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if who and len(cells) == 5 and cells[0].startswith("`"):
            found[who, cells[0].strip("`")] = (cells[1], set(re.findall(r"`(\w+)`", cells[2])), cells[4])
    return found


async def test_the_page_lists_every_metric_and_no_other(redis_server: RedisServer, prefix: str) -> None:
    page = documented()
    real = {
        (who, f"{family.name}{'_total' if family.type == 'counter' else ''}"): (
            family.type,
            labels_of(family),
        )
        for who, given in (await families(redis_server, prefix)).items()
        for family in given
    }

    assert {name: (kind, labels) for name, (kind, labels, _) in page.items()} == real
    assert all(len(meaning) > 10 for _, _, meaning in page.values())


async def test_rules_and_dashboard_read_what_there_is(redis_server: RedisServer, prefix: str) -> None:
    real: dict[str, set[str]] = {
        f"{family.name}{suffix}": labels_of(family)
        for given in (await families(redis_server, prefix)).values()
        for family in given
        for suffix in _SUFFIXES[family.type]
    }
    recorded = {rule["record"] for rule in rules() if "record" in rule}

    for expression in expressions():
        for name in names_in(expression):
            assert name in real.keys() | recorded | OF_PROMETHEUS, f"{name} in {expression}"
        for name, labels in labels_in(expression):
            known = real.get(name, set()) | LABELS_OF_PROMETHEUS
            assert labels <= known, f"{name} has no label {labels - known}: {expression}"


def test_what_is_recorded_is_of_use() -> None:
    """A recorded series that nothing shows or alerts on is one to look at by hand, and documented as such."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")

    assert not [rule["record"] for rule in rules() if "record" in rule and f"`{rule['record']}`" not in page]


def test_each_alert_says_what_to_do_and_is_documented() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

    assert len({alert["alert"] for alert in alerts}) == len(alerts)
    for alert in alerts:
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(alert["annotations"]) == {"summary", "description"}
        assert f"`{alert['alert']}`" in page


def test_panels_are_told_apart_and_fit() -> None:
    panels = dashboard()["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "prometheus"


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (cache_type) (rate(a_total{x="b"}[5m])) / (c:d:rate5m > 0)', {"a_total", "c:d:rate5m"}),
        ("absent(a) and on() (b == 1) or c offset 10m > 1e6", {"a", "b", "c"}),
        ("avg_over_time(a:b[6h] offset 10m) * 0.8", {"a:b"}),
    ],
)
def test_names_are_found_in_expressions(expression: str, names: set[str]) -> None:
    assert names_in(expression) == names
