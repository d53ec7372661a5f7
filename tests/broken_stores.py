"""Stores for each rule of the contract, wrong in one way: what must be found out."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from stoker.core import CacheStats
from tests.shelves import DictStore


class MissesRaise(DictStore):
    async def get(self, key: str, default: Any = None, **options: Any) -> Any:
        return await super().get(key, None, **options)


class KeepsTexts(DictStore):
    async def set(self, key: str, value: Any, ttl: float | None = None, **options: Any) -> bool:
        return await super().set(key, str(value) if isinstance(value, bool) else value, ttl, **options)


class NoneIsAbsent(DictStore):
    def found(self, key: str) -> tuple[Any, float | None] | None:
        entry = super().found(key)
        return None if entry is None or entry[0] is None else entry


class DecodesBytes(DictStore):
    async def get(self, key: str, default: Any = None, **options: Any) -> Any:
        value = await super().get(key, default, **options)
        return value.decode("latin-1") if isinstance(value, bytes) else value


class CutsLargeValues(DictStore):
    async def set(self, key: str, value: Any, ttl: float | None = None, **options: Any) -> bool:
        return await super().set(key, value[:65_536] if isinstance(value, str) else value, ttl, **options)


class IgnoresInto(DictStore):
    async def get(self, key: str, default: Any = None, **options: Any) -> Any:
        return await super().get(key, default)


class FoldsCase(DictStore):
    def name(self, key: str) -> str:
        return super().name(key).lower()


class KeepsTheFirst(DictStore):
    async def set(self, key: str, value: Any, ttl: float | None = None, **options: Any) -> bool:
        options["if_absent"] = True
        await super().set(key, value, ttl, **options)
        return True


class RefusesTags(DictStore):
    async def set(self, key: str, value: Any, ttl: float | None = None, **options: Any) -> bool:
        return not options.get("tags") and await super().set(key, value, ttl, **options)


class CountsDeletesAlways(DictStore):
    async def delete(self, key: str) -> int:
        await super().delete(key)
        return 1


class ClearsTen(DictStore):
    async def clear(self) -> bool:
        for name in [name for name in self.shelf.entries if name.startswith(self.begin)][:10]:
            del self.shelf.entries[name]
        return True


class ClearsEverybody(DictStore):
    async def clear(self) -> bool:
        self.shelf.entries.clear()
        return True


class NeverExpires(DictStore):
    def is_over(self, ends: float | None) -> bool:
        return False


class TellsTheFirstTtl(DictStore):
    async def ttl(self, key: str) -> float | None:
        return 1_000_000.0 if self.found(key) else None


class KeepsTheFirstTtl(DictStore):
    async def set(self, key: str, value: Any, ttl: float | None = None, **options: Any) -> bool:
        entry = self.found(key)
        stored = await super().set(key, value, ttl, **options)
        if entry is not None and stored:
            self.shelf.entries[self.name(key)] = value, entry[1]
        return stored


class ExpiresNothing(DictStore):
    async def expire(self, key: str, ttl: float) -> bool:
        return self.found(key) is not None


class Revives(DictStore):
    async def expire(self, key: str, ttl: float) -> bool:
        entry = self.shelf.entries.get(self.name(key))
        if entry is not None:
            self.shelf.entries[self.name(key)] = entry[0], self.ends(ttl)
        return entry is not None


class TakesAnyTtl(DictStore):
    def check(self, ttl: float | None) -> None:
        pass


class IgnoresIfAbsent(DictStore):
    async def set(self, key: str, value: Any, ttl: float | None = None, **options: Any) -> bool:
        return await super().set(key, value, ttl, tags=options.get("tags", ()))


class KnowsNoNx(DictStore):
    async def set(self, key: str, value: Any, ttl: float | None = None, **options: Any) -> bool:
        options.pop("nx", None)
        return await super().set(key, value, ttl, **options)


class CountsBlindReadsAsMisses(DictStore):
    async def get(self, key: str, default: Any = None, **options: Any) -> Any:
        return await super().get(key, default, **options) if options.get("track_stats", True) else default


class ClearsTooLittle(DictStore):
    async def clear_beginning(self, beginning: str) -> bool:
        return await super().clear_beginning(beginning and beginning + ":")


class HashesByOrder(DictStore):
    def hash_key(self, data: Any) -> str:
        return str(hash(repr(data)))


class TellsNothing(DictStore):
    async def get_stats(self) -> Any:
        return {}


class FillsGaps(DictStore):
    async def get_many(self, keys: Iterable[str], *, into: Any = Any) -> dict[str, Any]:
        return {key: await self.get(key, into=into) for key in keys}


class ForgetsTheTtlOfMany(DictStore):
    async def set_many(
        self, values: Mapping[str, Any], ttl: float | None = None, *, tags: Iterable[str] = ()
    ) -> int:
        return await super().set_many(values, tags=tags)


class CountsKeysNotEntries(DictStore):
    async def delete_many(self, keys: Iterable[str]) -> int:
        named = list(keys)
        await super().delete_many(named)
        return len(named)


class NeverKeepsLoads(DictStore):
    async def get_or_load(
        self, key: str, load: Callable[..., Awaitable[Any]], /, *args: Any, **kw: Any
    ) -> Any:
        return await load(*args, **kw)


class KeepsNoLoadedNone(DictStore):
    async def get_or_load(
        self, key: str, load: Callable[..., Awaitable[Any]], /, *args: Any, **kw: Any
    ) -> Any:
        value = await self.get(key)
        if value is None:
            value = await load(*args, **kw)
            await self.set(key, value)
        return value


class SwallowsErrors(DictStore):
    async def get_or_load(
        self, key: str, load: Callable[..., Awaitable[Any]], /, *args: Any, **kw: Any
    ) -> Any:
        try:
            return await super().get_or_load(key, load, *args, **kw)
        except LookupError:
            return None


class BeginsAtOne(DictStore):
    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        value = await super().increment(key, amount, ttl=ttl)
        return None if value is None else value + 1


class Slides(DictStore):
    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        value = await super().increment(key, amount, ttl=ttl)
        if value is not None:
            self.shelf.counters[self.name(key)] = value, self.ends(ttl)
        return value


class SharesCounters(DictStore):
    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        begin, self.begin = self.begin, "shared:"
        try:
            return await super().increment(key, amount, ttl=ttl)
        finally:
            self.begin = begin

    async def delete(self, key: str) -> int:
        self.shelf.counters.pop(f"shared:{key}", None)
        return await super().delete(key)


class ClearsByPattern(DictStore):
    async def clear_beginning(self, beginning: str) -> bool:
        for name in fnmatch.filter(list(self.shelf.entries), f"{self.begin}{beginning}*"):
            del self.shelf.entries[name]
        return True


class EndsWhatIsToLive(DictStore):
    async def expire(self, key: str, ttl: float) -> bool:
        return ttl <= 0 or await super().expire(key, ttl)


class HandsOutItsOwn(DictStore):
    async def get(self, key: str, default: Any = None, **options: Any) -> Any:
        entry = self.found(key)
        return default if entry is None else entry[0]


class KeepsWhatIsTheirs(DictStore):
    async def set(self, key: str, value: Any, ttl: float | None = None, **options: Any) -> bool:
        stored = await super().set(key, value, ttl, **options)
        if stored:
            self.shelf.entries[self.name(key)] = value, self.ends(ttl)
        return stored


class CountsAllReads(DictStore):
    hits = 0

    async def get(self, key: str, default: Any = None, **options: Any) -> Any:
        self.hits += self.found(key) is not None
        return await super().get(key, default, **options)

    async def get_stats(self) -> CacheStats:
        return CacheStats(backend="dict", connected=True, hits=self.hits)


class CountsForEver(DictStore):
    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        return await super().increment(key, amount)


class ReadsThenWrites(DictStore):
    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        value, ends = self.shelf.counters.get(self.name(key), (0, None))
        await asyncio.sleep(0)
        self.shelf.counters[self.name(key)] = value + amount, ends
        return value + amount


class LooksThenSets(DictStore):
    async def set(self, key: str, value: Any, ttl: float | None = None, **options: Any) -> bool:
        if options.pop("if_absent", False) and self.found(key) is not None:
            return False
        await asyncio.sleep(0)
        return await super().set(key, value, ttl, **options)


class RaisesInTrouble(DictStore):
    def found(self, key: str) -> tuple[Any, float | None] | None:
        if self.shelf.down:
            raise ConnectionError("the shelf has fallen")
        return super().found(key)


BROKEN: dict[str, type[DictStore]] = {
    "test_what_is_not_there_is_a_miss": MissesRaise,
    "test_values_come_back_as_they_were": KeepsTexts,
    "test_none_is_a_value": NoneIsAbsent,
    "test_bytes_stay_bytes": DecodesBytes,
    "test_large_values_are_kept_whole": CutsLargeValues,
    "test_values_come_back_as_the_type_that_is_asked_for": IgnoresInto,
    "test_keys_are_apart": FoldsCase,
    "test_a_set_replaces_what_was_there": KeepsTheFirst,
    "test_tags_change_nothing_for_a_read": RefusesTags,
    "test_delete_forgets_one_key": CountsDeletesAlways,
    "test_clear_forgets_all": ClearsTen,
    "test_namespaces_are_apart": ClearsEverybody,
    "test_a_value_ends_with_its_ttl": NeverExpires,
    "test_ttl_tells_the_seconds_left": TellsTheFirstTtl,
    "test_a_set_brings_its_own_ttl": KeepsTheFirstTtl,
    "test_expire_gives_another_ttl": ExpiresNothing,
    "test_expire_revives_nothing": Revives,
    "test_a_ttl_that_is_none_is_refused": TakesAnyTtl,
    "test_a_set_if_absent_stores_only_then": IgnoresIfAbsent,
    "test_nx_is_if_absent": KnowsNoNx,
    "test_a_read_may_go_uncounted": CountsBlindReadsAsMisses,
    "test_clear_beginning_forgets_what_begins_so": ClearsTooLittle,
    "test_equal_data_have_one_key": HashesByOrder,
    "test_statistics_can_be_asked_for": TellsNothing,
    "test_get_many_answers_what_is_there": FillsGaps,
    "test_set_many_stores_all": ForgetsTheTtlOfMany,
    "test_delete_many_says_how_many_went": CountsKeysNotEntries,
    "test_a_miss_is_loaded_and_kept": NeverKeepsLoads,
    "test_a_loaded_none_is_kept": KeepsNoLoadedNone,
    "test_what_a_loader_raises_is_the_callers": SwallowsErrors,
    "test_a_counter_begins_at_nought": BeginsAtOne,
    "test_a_counter_ends_with_its_ttl_or_a_delete": CountsForEver,
    "test_no_increment_is_lost": ReadsThenWrites,
    "test_of_many_who_set_if_absent_one_does": LooksThenSets,
    "test_trouble_is_a_miss": RaisesInTrouble,
    "test_counters_of_namespaces_are_apart": SharesCounters,
    "test_a_beginning_is_no_pattern": ClearsByPattern,
    "test_no_other_method_takes_such_a_ttl": EndsWhatIsToLive,
    "test_a_value_belongs_to_who_reads_it": HandsOutItsOwn,
}


#: Further ways to break some of them.
MORE: list[tuple[str, type[DictStore]]] = [
    ("test_a_counter_ends_with_its_ttl_or_a_delete", Slides),
    ("test_a_value_belongs_to_who_reads_it", KeepsWhatIsTheirs),
    ("test_a_read_may_go_uncounted", CountsAllReads),
]
