"""Write-through: the source is changed, and the cache with it, without a moment in which it is wrong.

A token is taken before the source is committed to. Then the key is invalidated, and the new value stored
as born *there*, at the record of that invalidation; but only if no other record of its scopes stands between
the token and it. If one does, somebody else wrote too, and nobody knows whose value the source has now.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stoker.core.entries.codec import MISSING
from stoker.core.entries.entry import encode_tags
from stoker.core.entries.outcome import Origin
from stoker.core.errors import LinkError, ReplyError
from stoker.core.log.fleet_log import Receipt
from stoker.core.log.history import History
from stoker.core.log.position import START, format_position, parse_position
from stoker.core.log.scopes import Key
from stoker.core.settings.policy import check_ttl

if TYPE_CHECKING:
    from stoker.core.parts import Parts

#: Records between token and invalidation that are looked at; with more, the value is not stored.
MAX_RECORDS = 1_000


class WriteThrough:
    """One change of the source; made by `CacheManager.write_through`.

    Attributes:
        value: What the source has now; assign it inside the block. Without one the key is only invalidated.
        ttl: Seconds it is fresh, where they differ from the type's.
        tags: Names under which it can be invalidated with others.
        stored: After the block: whether the value was stored.
        receipt: After the block: what the invalidation was answered with.
    """

    def __init__(self, manager: Parts, cache_type: str, key: str) -> None:
        self._manager = manager
        self._cache_type = cache_type
        self._key = key
        self._epoch = 0
        self._since = START
        self.value: Any = MISSING
        self.ttl: float | None = None
        self.tags: Iterable[str] = ()
        self.stored = False
        self.receipt = Receipt(None)

    async def __aenter__(self) -> Self:
        log = self._manager.log
        await log.catch_up()
        self._epoch, self._since = log.epoch, log.seen
        return self

    def move_to(self, manager: Parts) -> None:
        """End the block at this manager, if it is another than began it, which was closed meanwhile.

        The key is invalidated there; nothing is stored, as nobody followed the log through.
        """
        if manager is not self._manager:
            self._manager, self._epoch = manager, 0

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        manager, log = self._manager, self._manager.log
        # First of all: the source may have been changed, whatever is wrong with the rest.
        self.receipt = await log.append([Key(self._cache_type, self._key)], by=manager.process)
        if kind is not None or self.value is MISSING:
            return
        tags = encode_tags(self.tags)
        if self.ttl is not None:
            check_ttl(self.ttl)
        if self.receipt.log_id is None or not self._epoch:
            return
        if await self._alone(tags, self.receipt.log_id):
            born = parse_position(self.receipt.log_id)
            self.stored = await manager.storage.store(
                self._cache_type,
                self._key,
                self.value,
                tags,
                self._epoch,
                born,
                ttl=self.ttl,
                origin=Origin.VOUCHED,
            )

    async def _alone(self, tags: tuple[bytes, ...], own_id: str) -> bool:
        """Whether no record between the token and our own names the entry."""
        manager = self._manager
        try:
            records = await manager.log.records(self._since, own_id, MAX_RECORDS)
        except (LinkError, ReplyError):
            return False
        # It begins at the token's own record, or what lies between has been trimmed.
        if not records or parse_position(records[0][0]) != self._since or len(records) == MAX_RECORDS:
            return False
        between = History()
        for stream_id, fields in records[1:-1]:
            if b"epoch" in fields[::2]:
                return False
            between.add(parse_position(stream_id), fields)
        if format_position(parse_position(records[-1][0])) != own_id:
            return False
        return not between.killer(self._cache_type, self._key, tags, START)
