"""`ResponseCache`: answers of models, by what was asked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from types import TracebackType, UnionType
from typing import Annotated, Any, Generic, Self, TypeVar, Union, cast, get_args, get_origin, overload

from stoker.core.aliases import LifeAliases, RequestAliases
from stoker.core.counters import TypeCounters
from stoker.core.entries.codec import check_decodable
from stoker.core.errors import LinkError, ReplyError, UsageError
from stoker.core.keys import check_text, glob_escape, several
from stoker.core.loading.loaders import Loader
from stoker.core.loading.loads import Load
from stoker.core.log.fleet_log import Receipt
from stoker.core.maintenance.sweep import unlink_dead
from stoker.core.manager import CacheManager
from stoker.core.metrics.stats import CacheStats
from stoker.core.responses.models import GenerationResponse, ResponseMetadata
from stoker.core.responses.periods import MetricsOfPeriod
from stoker.core.responses.request_keys import request_key
from stoker.core.responses.request_metrics import RequestMetrics
from stoker.core.responses.stored import (
    Assemble,
    Split,
    Stored,
    describe,
    join_texts,
    place_of,
    tag_of,
    tags_of,
    whole_content,
)
from stoker.core.responses.streaming import MAX_READINGS, Streaming
from stoker.core.responses.streams import StreamTooLargeError
from stoker.core.settings.config import CacheConfig
from stoker.core.settings.policy import check_ttl

R = TypeVar("R")
Request = TypeVar("Request")
C = TypeVar("C")


class ResponseCache(LifeAliases, RequestAliases, Generic[R]):
    """Answers of models, by what was asked: one call of the model for all who ask the same.

    ```python
    async with ResponseCache() as cache:
        response = await cache.get_or_generate(request, call_model)
    ```

    Each answer is stored with its metadata, and tagged by model and provider. Trouble with the cache never
    breaks the caller: reads miss, writes answer False, counts answer 0.

    Args:
        cache: A manager, which its maker closes; or the configuration of one that this cache makes.
        cache_type: The type that answers are stored under.
        namespace: Keeps the answers apart from others of the type.
        response_type: What an answer is: `GenerationResponse`, or a class of the caller's.
        ignore: Fields of requests that don't count, such as `user` or `stream`.
        chunk_type: What the chunks of streams are.
        assemble: Makes a response of a stream's chunks; texts are joined where not given.
        split: Makes chunks of a response that came as a whole; it is one chunk where not given.

    Raises:
        UsageError: There is no such type, or answers can't be made of what is stored.
    """

    @overload
    def __init__(
        self: ResponseCache[GenerationResponse],
        cache: CacheManager | CacheConfig | None = None,
        *,
        cache_type: str = "llm_response",
        namespace: str = "",
        ignore: Iterable[str] = (),
        chunk_type: Any = str,
        assemble: Assemble[GenerationResponse] | None = None,
        split: Split[GenerationResponse] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        cache: CacheManager | CacheConfig | None = None,
        *,
        response_type: type[R],
        cache_type: str = "llm_response",
        namespace: str = "",
        ignore: Iterable[str] = (),
        chunk_type: Any = str,
        assemble: Assemble[R] | None = None,
        split: Split[R] | None = None,
    ) -> None: ...
    def __init__(
        self,
        cache: CacheManager | CacheConfig | None = None,
        *,
        response_type: Any = GenerationResponse,
        cache_type: str = "llm_response",
        namespace: str = "",
        ignore: Iterable[str] = (),
        chunk_type: Any = str,
        assemble: Assemble[Any] | None = None,
        split: Split[Any] | None = None,
    ) -> None:
        self._own = not isinstance(cache, CacheManager)
        self.manager = cache if isinstance(cache, CacheManager) else CacheManager(cache)
        self.cache_type = str(cache_type)
        self._view = self.manager.cache(cache_type, namespace=namespace)
        self._place = place_of(self.cache_type, namespace)
        self._policy = self.manager.policy(cache_type)
        self._ignore = tuple(several("names in ignore", ignore))
        for name in self._ignore:
            check_text("a name in ignore", name)
        self._response_classes = _classes_of(response_type)
        self._stored_type: Any = Stored[response_type, chunk_type]
        check_decodable(self._stored_type)
        joins = any(issubclass(one, GenerationResponse) for one in self._response_classes)
        self._assemble = assemble or (join_texts if joins else _cannot_assemble)
        self._split = split or whole_content
        self._load = self._make_load()
        self._streaming = Streaming(self.manager, self.cache_type, self._stored_type, chunk_type)
        self.metrics = RequestMetrics(self.manager)

    # -- life -------------------------------------------------------------------------------------

    async def connect(self) -> bool:
        """Start the manager; say whether the server answered. If not, it is tried again in the background."""
        return await self.manager.connect()

    async def close(self, timeout: float = 5.0) -> None:
        """Close the manager, if this cache has made it."""
        if self._own:
            await self.manager.close(timeout)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def client(self) -> Any:
        """A client of redis-py with the same settings; see `CacheManager.client`."""
        return self.manager.client

    # -- answers ----------------------------------------------------------------------------------

    def key(self, request: Any) -> str:
        """Return the key of a request's answer; see `request_key`.

        Raises:
            UsageError: The request can't be keyed.
        """
        return request_key(request, ignore=self._ignore)

    def tags(self, response: R, request: Any) -> list[str]:
        """Return the tags of an answer: of its model, of the one that was asked for, and of its provider."""
        return tags_of(self._place, describe(request, response, self._policy.ttl), request)

    # No `async def`: a miss leaves its mark where it is called; see `marks`.
    def get_cached_response(self, request: Any) -> Coroutine[Any, Any, R | None]:
        """Return the answer to a request, or None where there is none.

        After a miss, `cache_response` in the same task is as safe as a load.

        Raises:
            UsageError: The request can't be keyed.
        """
        return self._respond(self._view.get(self.key(request), into=self._stored_type))

    async def _respond(self, reading: Awaitable[Stored[R, Any] | None]) -> R | None:
        stored = await reading
        return None if stored is None else self._response_of(stored)

    async def get_metadata(self, request: Any) -> ResponseMetadata | None:
        """Return what is known of the answer to a request; None where there is none. No read is counted.

        Raises:
            UsageError: The request can't be keyed.
        """
        key = self.key(request)
        stored: Stored[R, Any] | None = await self._view.get(key, into=self._stored_type, track_stats=False)
        return None if stored is None else stored.metadata

    def cache_response(
        self, request: Any, response: R, ttl_seconds: float | None = None
    ) -> Coroutine[Any, Any, bool]:
        """Store an answer; say whether it was stored.

        Args:
            request: What was asked.
            response: The answer.
            ttl_seconds: For how long; the type's TTL where not given.

        Raises:
            UsageError: The request can't be keyed, the TTL is none, or the answer is of another type.
        """
        key = self.key(request)
        stored = self._stored(request, response, self._seconds(ttl_seconds))
        tags = tags_of(self._place, stored.metadata, request)
        return self._view.set(key, stored, ttl=ttl_seconds, tags=tags)

    async def get_or_generate(
        self,
        request: Request,
        generate: Callable[[Request], Awaitable[R]],
        *,
        ttl_seconds: float | None = None,
    ) -> R:
        """Return the answer to a request; where there is none call the model, once for all who ask.

        Whoever asks the same meanwhile, in this process or another, waits for that call. If it fails, nothing
        is stored.

        Args:
            request: What is asked.
            generate: Calls the model with the request.
            ttl_seconds: For how long the answer is stored; the type's TTL where not given.

        Raises:
            UsageError: The request can't be keyed, the TTL is none, or the answer is of another type.
            Exception: Whatever `generate` raises.
        """
        seconds = self._seconds(ttl_seconds)
        needed = replace(
            self._needed(self.key(request), self._load, (request, generate, seconds), ttl_seconds),
            gives=generate,
        )
        self.manager.access.append((self.cache_type, needed.key, None))
        counters = self.manager.counters.of(self.cache_type)
        for _ in range(MAX_READINGS):
            try:
                reading = await self.manager.serving.read(needed, self._policy, counters)
            except StreamTooLargeError:  # what it waited for came as a stream, for others
                counters = TypeCounters()  # it is one read all the same
                continue
            return self._response_of(reading.value)
        return await generate(request)

    def get_or_stream(
        self,
        request: Request,
        generate: Callable[[Request], AsyncIterator[C] | Awaitable[AsyncIterator[C]]],
        *,
        ttl_seconds: float | None = None,
        provider_used: str = "",
        request_id: str = "",
    ) -> AsyncIterator[C]:
        """Return the answer to a request as a stream; where there is none have the model stream it, once.

        Chunks are passed through as they come. A stream that ended is stored, and replayed chunk by chunk;
        one that broke off is not. Who asks the same meanwhile gets, in this process, the chunks so far at
        once and the others as they come; in another process, the whole when it is stored. The model's stream
        is read to its end though its readers leave, and it must end within the type's `load_timeout`.

        Args:
            request: What is asked.
            generate: Has the model stream its answer to the request.
            ttl_seconds: For how long the answer is stored; the type's TTL where not given.
            provider_used: Who answers, for metadata and tags.
            request_id: The call's id, for the metadata.

        Raises:
            UsageError: The request can't be keyed, or the TTL is none.
            Exception: Whatever `generate` raises, when the stream is read.
        """
        known = {"provider_used": provider_used, "request_id": request_id}
        metadata = describe(request, None, self._seconds(ttl_seconds), **known)
        needed = self._needed(
            self.key(request), self._streaming.load, (request, generate, metadata), ttl_seconds
        )
        return self._streaming.read(needed, tags_of(self._place, metadata, request), self._chunks_of)

    def _needed(self, key: str, load: Any, args: tuple[Any, ...], ttl: float | None) -> Load:
        def tags(stored: Stored[R, Any]) -> list[str]:
            return tags_of(self._place, stored.metadata, args[0])

        spec = Loader(f"{self.cache_type} responses", load, self.cache_type, tags, ttl)
        return Load(self.cache_type, self._view.key(key), load, args, {}, spec)

    def _make_load(self) -> Any:
        async def load(request: Any, generate: Callable[[Any], Awaitable[R]], seconds: float) -> Any:
            return self._stored(request, await generate(request), seconds)

        load.__annotations__["return"] = self._stored_type
        return load

    def _seconds(self, ttl_seconds: float | None) -> float:
        return self._policy.ttl if ttl_seconds is None else check_ttl(ttl_seconds)

    def _stored(self, request: Any, response: R, seconds: float) -> Stored[R, Any]:
        if not isinstance(response, self._response_classes):
            names = " | ".join(one.__qualname__ for one in self._response_classes)
            raise UsageError(
                f"this cache is of {names}, and the response is a "
                f"{type(response).__qualname__}: make it with ResponseCache(response_type=…)"
            )
        return Stored(describe(request, response, seconds), response)

    def _response_of(self, stored: Stored[R, Any]) -> R:
        if stored.chunks is not None:
            return cast("R", self._assemble(stored.chunks, stored.metadata))
        return cast("R", stored.response)

    def _chunks_of(self, stored: Stored[R, Any]) -> Iterable[Any]:
        return stored.chunks if stored.chunks is not None else self._split(cast("R", stored.response))

    # -- invalidation -----------------------------------------------------------------------------

    async def delete(self, request: Any) -> int:
        """Invalidate the answer to a request; say how many entries were unlinked (0 or 1)."""
        return await self._view.delete(self.key(request))

    async def invalidate_cache(self, pattern: str = "*") -> int:
        """Invalidate the answers whose key matches a glob, all by default; say how many were unlinked."""
        beginning = glob_escape(self._view.key(""))
        return await self.manager.invalidate_pattern(self.cache_type, beginning + pattern)

    async def invalidate_model(self, model: str) -> Receipt:
        """Invalidate all answers of a model, and those it was asked for, in this namespace: one command."""
        return await self.manager.invalidate_tags(tag_of(self._place, "model", model))

    async def invalidate_provider(self, provider: str) -> Receipt:
        """Invalidate all answers of a provider in this namespace, with one command, however many."""
        return await self.manager.invalidate_tags(tag_of(self._place, "provider", provider))

    async def cleanup_expired_cache(self) -> int:
        """Give back the memory of answers that will not be served any more; say how many there were.

        Redis drops by itself what has expired; what was invalidated by tag, type or pattern is unlinked here,
        or by a worker's sweep. So is what stands in an answer's place and is no entry.
        """
        beginning = self._view.key("")
        await self.manager.log.catch_up()
        here = self.manager.memory.remove_dead(self.cache_type, beginning) if self._policy.in_memory else 0
        if self._policy.in_redis:  # what memory held are copies
            with contextlib.suppress(LinkError, ReplyError):
                return await unlink_dead(self.manager, self.cache_type, beginning)
        return here

    # -- figures ----------------------------------------------------------------------------------

    async def get_cache_stats(self) -> CacheStats:
        """Return hits, misses, entries and memory; with a warning where few of enough reads are hits."""
        return await self._view.get_stats()

    async def cache_request_metrics(
        self,
        request_id: str,
        provider: str,
        response_time_ms: float,
        cost_usd: float = 0.0,
        ttl_seconds: float | None = None,
    ) -> bool:
        """Record one call of a model; see `RequestMetrics.record`."""
        return await self.metrics.record(request_id, provider, response_time_ms, cost_usd, ttl_seconds)

    async def get_metrics_for_period(self, hours: float = 24) -> MetricsOfPeriod:
        """Return the calls of models of the last hours; see `RequestMetrics.of_period`."""
        return await self.metrics.of_period(hours)


def _classes_of(response_type: Any) -> tuple[type, ...]:
    """The classes that responses are instances of: `dict` for `dict[str, Any]`; of a union, all."""
    found = get_origin(response_type) or response_type
    if found is Union or found is UnionType:
        return tuple(dict.fromkeys(one for part in get_args(response_type) for one in _classes_of(part)))
    if found is Annotated:
        return _classes_of(get_args(response_type)[0])
    return (found,) if isinstance(found, type) else (object,)


def _cannot_assemble(_chunks: list[Any], _metadata: ResponseMetadata) -> Any:
    raise UsageError(
        "this answer was stored as a stream: give the ResponseCache assemble=…, which makes a response of it"
    )
