"""For type checkers alone: answers of models are of the kind that their cache was made for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import assert_type

from stoker.core import (
    AIResponseCache,
    CacheManager,
    GenerationRequest,
    GenerationResponse,
    PerformanceSummary,
    Receipt,
    RequestMetric,
    ResponseCache,
    ResponseMetadata,
)


@dataclass
class Answer:
    text: str


async def check_responses(cache: CacheManager, request: GenerationRequest) -> None:
    """Answers are of the kind that the cache was made for; streams give what the model's gives."""

    async def answer(request: GenerationRequest) -> Answer:
        return Answer(str(request.model))

    async def stream(request: GenerationRequest) -> AsyncIterator[bytes]:
        yield str(request.model).encode()

    usual, own = ResponseCache(cache), ResponseCache(cache, response_type=Answer)
    assert_type(await usual.get_cached_response(request), GenerationResponse | None)
    assert_type(await own.get_cached_response(request), Answer | None)
    assert_type(await own.get_or_generate(request, answer), Answer)
    assert_type([chunk async for chunk in own.get_or_stream(request, stream)], list[bytes])
    assert_type(await own.get_metadata(request), ResponseMetadata | None)
    assert_type((await own.get_metrics_for_period())[0], RequestMetric)
    await usual.get_or_generate(request, answer)  # type: ignore[arg-type]  # pyright: ignore
    await own.cache_response(request, "text")  # type: ignore[arg-type]  # pyright: ignore


async def check_texts(cache: AIResponseCache) -> None:
    async def count() -> int:
        return 1

    assert_type(await cache.get_or_generate("text", "qa", {}, count), int)
    assert_type(await cache.invalidate_by_operation("qa"), Receipt)
    assert_type(await cache.invalidate_pattern("qa"), int)
    assert_type(cache.get_performance_summary(), PerformanceSummary)
