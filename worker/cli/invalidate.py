"""`stoker invalidate`: append to the invalidation log, or say what that would hit."""

from __future__ import annotations

from collections.abc import Sequence

import click

from stoker.core.errors import StokerError
from stoker.core.log.fleet_log import Receipt
from stoker.core.log.scopes import (
    Everything,
    Key,
    Pattern,
    Scope,
    Tag,
    Type,
    check_scope,
    describe_scope,
    to_fields,
)
from stoker.core.maintenance.explain import count_hit
from stoker.core.manager import CacheManager
from stoker.worker.cli.arguments import check_reason, user_name
from stoker.worker.cli.setup import config_option, connected, json_option, loaded_config, run_async
from stoker.worker.cli.show import progress, write_json
from stoker.worker.config import StokerConfig


class NotInvalidatedError(StokerError):
    """The invalidation does not stand in the log; the message says what to do."""


@click.command()
@click.argument("scopes", nargs=-1, metavar="[TYPE:KEY]...")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="All entries with this tag.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="All entries of this type.")
@click.option("--pattern", "patterns", multiple=True, metavar="TYPE:GLOB", help="Keys of a type that match.")
@click.option("--everything", is_flag=True, help="All entries of all types.")
@click.option("--dry-run", is_flag=True, help="Count what would be hit, and change nothing.")
@click.option("--reason", metavar="TEXT", callback=check_reason, help="For the audit trail.")
@config_option
@json_option
def invalidate(
    scopes: tuple[str, ...],
    tags: tuple[str, ...],
    types: tuple[str, ...],
    patterns: tuple[str, ...],
    *,
    everything: bool,
    dry_run: bool,
    reason: str | None,
    as_json: bool,
) -> None:
    r"""Invalidate keys, tags, types or patterns, in one record.

    From then on no reader is served what was stored before. Keys are written `product:42`.

    \b
      stoker invalidate product:42 product:43
      stoker invalidate --tag category:5 --dry-run
    """
    config = loaded_config().value
    named: list[Scope] = [Key(*_split(text, "KEY")) for text in scopes]
    named += [Tag(tag) for tag in tags]
    named += [Type(name) for name in types]
    named += [Pattern(*_split(text, "GLOB")) for text in patterns]
    named += [Everything()] if everything else []
    if not named:
        raise click.UsageError(
            "nothing to invalidate: name TYPE:KEY, or --tag, --type, --pattern, --everything"
        )
    for scope in named:
        _check(scope, config)
    if dry_run:
        _show_count(named, run_async(_dry_run(config, named)), as_json=as_json)
    else:
        _show_receipt(named, run_async(_invalidate(config, named, reason)), as_json=as_json)


def _split(text: str, what: str) -> tuple[str, str]:
    cache_type, colon, key = text.partition(":")
    if not colon:
        raise click.UsageError(f"{text!r}: write TYPE:{what}, such as product:42")
    return cache_type, key


def _check(scope: Scope, config: StokerConfig) -> None:
    check_scope(scope)
    if not isinstance(scope, Tag | Everything):
        config.policy(scope.cache_type)


async def _invalidate(config: StokerConfig, scopes: Sequence[Scope], reason: str | None) -> Receipt:
    async with connected(config) as manager:
        by = f"cli:{user_name()}"
        receipt = await manager.log.append(scopes, by=by, reason=reason, keep=False)
        return receipt if receipt.acknowledged else await _try_again(manager, scopes, by, reason)


async def _try_again(manager: CacheManager, scopes: Sequence[Scope], by: str, reason: str | None) -> Receipt:
    """Append once more, to be told why the server does not take it.

    Raises:
        ReplyError: It refuses.
        LinkError: It does not answer.
        NotInvalidatedError: Somebody keeps removing the log.
    """
    notes = ("_by", by, *(("_reason", reason) if reason else ()))
    log_id = await manager.link.call("XADD", manager.keys.log, "NOMKSTREAM", "*", *to_fields(scopes), *notes)
    if log_id is None:
        raise NotInvalidatedError("nothing was invalidated: the log is gone; `stoker doctor` tells more")
    return Receipt(log_id.decode())


async def _dry_run(config: StokerConfig, scopes: Sequence[Scope]) -> int:
    async with connected(config, read_only=True) as manager:
        with progress("looking at what is stored"):
            return await count_hit(manager, scopes)


def _show_count(scopes: Sequence[Scope], count: int, *, as_json: bool) -> None:
    named = [describe_scope(scope) for scope in scopes]
    if as_json:
        write_json({"scopes": named, "would_hit": count})
    else:
        entries = "1 entry" if count == 1 else f"{count} entries"
        click.echo(f"{click.style('would hit', fg='yellow')}  {entries}: {', '.join(named)}")


def _show_receipt(scopes: Sequence[Scope], receipt: Receipt, *, as_json: bool) -> None:
    named = [describe_scope(scope) for scope in scopes]
    if as_json:
        write_json({"scopes": named, "log_id": receipt.log_id, "acknowledged": receipt.acknowledged})
    else:
        click.echo(
            f"{click.style('invalidated', fg='green')}  {', '.join(named)}  (log record {receipt.log_id})"
        )
