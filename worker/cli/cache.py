"""`stoker stats`, `stoker hot`, `stoker explain`: looking at the caches, changing nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import click
from rich.table import Table
from rich.text import Text

from stoker.core.keys import check_key
from stoker.core.maintenance.explain import Explanation, LogRecord
from stoker.core.maintenance.explain import explain as explain_key
from stoker.core.maintenance.heartbeat import ProcessInfo, processes
from stoker.core.maintenance.sizes import measure_sizes
from stoker.core.warming.hotkeys import HotKey, ranking
from stoker.core.warming.pauses import paused
from stoker.core.warming.rates import WINDOWS, HitRate, compute_hit_rates
from stoker.core.warming.runs import RunRecord, recent_runs
from stoker.worker.cli.setup import config_option, connected, json_option, loaded_config, run_async
from stoker.worker.cli.show import (
    clock,
    console,
    percent,
    progress,
    seconds,
    size,
    write_json,
    write_table,
)
from stoker.worker.config import StokerConfig

_STATES = {"fresh": "green", "stale": "yellow", "dead": "red", "undecodable": "red"}


@dataclass(frozen=True, slots=True)
class _Stats:
    """What `stoker stats` shows."""

    rates: dict[tuple[str, int], HitRate]
    entries: dict[str, int]
    runs: dict[str, RunRecord]
    """The last warm run of each type."""
    paused: dict[str, str]
    processes: list[ProcessInfo]
    log_length: int


@click.command()
@config_option
@json_option
def stats(*, as_json: bool) -> None:
    """Show hit rates, entries and warming of each cache type, and which processes are alive."""
    config = loaded_config().value
    with progress("counting"):
        found = run_async(_stats(config))
    if as_json:
        write_json(_as_json(config, found))
        return
    rows = [_row(name, config, found) for name in _by_traffic(config, found)]
    heads = (
        "type",
        "ttl",
        "entries",
        *(f"hits {_window(window)}" for window in WINDOWS),
        "reads 5m",
        "last warm run",
    )
    write_table(heads, rows, right="ttl entries reads_5m " + " ".join(f"hits_{_window(w)}" for w in WINDOWS))
    alive: dict[str, int] = {}
    for process in found.processes:
        alive[process.component] = alive.get(process.component, 0) + process.alive
    shown = ", ".join(f"{count} {name}" for name, count in alive.items()) or "none"
    click.echo(f"\nprocesses alive: {shown}; records in the log: {found.log_length}")


async def _stats(config: StokerConfig) -> _Stats:
    async with connected(config, read_only=True) as manager:
        rates, sizes, runs, stopped, alive, length = await asyncio.gather(
            compute_hit_rates(manager),
            measure_sizes(manager),
            recent_runs(manager, "warm", 200),
            paused(manager),
            processes(manager),
            manager.link.call("XLEN", manager.keys.log),
        )
    last: dict[str, RunRecord] = {}
    for run in runs:
        last.setdefault(run.fields.get("cache_type", ""), run)
    by_type = {(rate.cache_type, rate.window): rate for rate in rates}
    return _Stats(by_type, sizes.entries, last, stopped, alive, int(length))


def _by_traffic(config: StokerConfig, found: _Stats) -> list[str]:
    def reads(name: str) -> int:
        rate = found.rates.get((name, WINDOWS[-1]))
        return rate.hits + rate.misses if rate else 0

    return sorted(config.types, key=lambda name: (-reads(name), -found.entries.get(name, 0), name))


def _row(name: str, config: StokerConfig, found: _Stats) -> Sequence[object]:
    rates = [found.rates.get((name, window)) for window in WINDOWS]
    five = found.rates.get((name, 300))
    return (
        Text(name, "bold"),
        seconds(config.types[name].ttl),
        found.entries.get(name, 0),
        *(percent(rate.rate) if rate else None for rate in rates),
        five.hits + five.misses if five else None,
        _warming(name, config, found),
    )


def _warming(name: str, config: StokerConfig, found: _Stats) -> Text:
    if name in found.paused:
        return Text(f"paused ({found.paused[name]})", "yellow")
    if config.types[name].warm.mode == "none":
        return Text("off", "dim")
    if not (run := found.runs.get(name)):
        return Text("not yet", "dim")
    fields = run.fields
    ago = seconds(max(0.0, time.time() - float(fields.get("started", "0"))))
    failed = int(fields.get("failed", "0"))
    text = f"{ago} ago: {fields.get('loaded', '0')} of {fields.get('planned', '0')} due"
    if fields.get("status") != "done":
        return Text(f"{ago} ago: {fields.get('status')}", "yellow")
    return Text(f"{text}, {failed} failed", "red") if failed else Text(text)


def _as_json(config: StokerConfig, found: _Stats) -> object:
    return {
        "types": {
            name: {
                "ttl": config.types[name].ttl,
                "entries": found.entries.get(name, 0),
                "hit_rates": {
                    str(rate.window): {"hits": rate.hits, "misses": rate.misses, "rate": rate.rate}
                    for (cache_type, _), rate in found.rates.items()
                    if cache_type == name
                },
                "paused": found.paused.get(name),
                "last_warm_run": found.runs[name].fields if name in found.runs else None,
            }
            for name in config.types
        },
        "processes": [
            {"component": item.component, "identity": item.identity, "alive": item.alive, "age": item.age}
            for item in found.processes
        ],
        "log_records": found.log_length,
    }


def _window(length: int) -> str:
    return f"{length // 3600}h" if length >= 3600 else f"{length // 60}m"


@click.command()
@click.argument("cache_type", metavar="TYPE")
@click.option(
    "-n", "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Keys to show."
)
@config_option
@json_option
def hot(cache_type: str, limit: int, *, as_json: bool) -> None:
    """Show the hottest keys of a type, by requests per second, recent ones weighing more."""
    config = loaded_config().value
    policy = config.policy(cache_type)
    found = run_async(_hot(config, cache_type, limit))
    if as_json:
        write_json(
            [
                {"key": item.key, "rate": item.rate, "loader": item.recipe.loader if item.recipe else None}
                for item in found
            ]
        )
    elif not found:
        click.echo(f"nobody has read {cache_type} lately")
    else:
        rows = [
            (number, item.key, f"{item.rate:.3g}/s", f"{item.rate * policy.ttl:.3g}", _loader(item))
            for number, item in enumerate(found, 1)
        ]
        write_table(("", "key", "requests", "per TTL", "warmed by"), rows, right="requests per_TTL")


async def _hot(config: StokerConfig, cache_type: str, limit: int) -> list[HotKey]:
    async with connected(config, read_only=True) as manager:
        return await ranking(manager, cache_type, limit)


def _loader(item: HotKey) -> Text:
    return (
        Text(item.recipe.loader) if item.recipe else Text("nothing: read without a registered loader", "dim")
    )


@click.command()
@click.argument("cache_type", metavar="TYPE")
@click.argument("key")
@click.option("--value", "with_value", is_flag=True, help="Show the stored value too.")
@config_option
@json_option
def explain(cache_type: str, key: str, *, with_value: bool, as_json: bool) -> None:
    """Explain what is stored of a key: born, dead or alive, and by which record of the log."""
    config = loaded_config().value
    check_key(key)
    found = run_async(_explain(config, cache_type, key))
    if as_json:
        fields = asdict(found)
        write_json(fields if with_value else {name: fields[name] for name in fields if name != "value"})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, text in _explained(found, with_value=with_value):
        if text is not None:
            table.add_row(name, text)
    console().print(table)


async def _explain(config: StokerConfig, cache_type: str, key: str) -> Explanation:
    async with connected(config, read_only=True) as manager:
        return await explain_key(manager, cache_type, key)


def _explained(found: Explanation, *, with_value: bool) -> list[tuple[str, Text | None]]:
    def at(moment: float | None) -> Text | None:
        return None if moment is None else Text(f"{clock(moment)}, {seconds(time.time() - moment)} ago")

    state = Text(str(found.state), f"bold {_STATES.get(str(found.state), 'dim')}")
    lines: list[tuple[str, Text | None]] = [
        ("state", state.append(f"  {found.because}", "default not bold")),
        ("key", Text(found.redis_key)),
        ("created", at(found.created)),
        ("born", _born(found)),
        ("fresh for", None if found.fresh_for is None else Text(seconds(found.fresh_for))),
        ("kept for", None if found.kept_for is None else Text(seconds(found.kept_for))),
        ("tags", Text(", ".join(found.tags)) if found.tags else None),
    ]
    if found.serializer:
        lines.append(
            (
                "stored",
                Text(f"{size(found.stored_bytes)}, {found.serializer}, compression {found.compression}"),
            )
        )
    if found.killed_by:
        lines.append(("killed by", _record(found.killed_by)))
    if with_value and found.serializer:
        lines.append(("value", Text(repr(found.value))))
    return lines


def _born(found: Explanation) -> Text | None:
    if found.born is None:
        return None
    older = "" if found.epoch == found.log_epoch else f"; the log's is {found.log_epoch}"
    return Text(f"{found.born} of epoch {found.epoch}{older}")


def _record(record: LogRecord) -> Text:
    notes = "".join(f", {name} {text}" for name, text in record.notes.items())
    return Text(f"{record.log_id} at {clock(record.at)}: {', '.join(record.scopes)}{notes}")
