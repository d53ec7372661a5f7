"""`python -m examples.llm`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import httpx

from examples.llm.model import ModelServer, model_server
from examples.llm.model_client import ModelClient
from examples.running import Report, cache_of, run, settings
from stoker.core.responses import ChatMessage, GenerationRequest, GenerationResponse, ResponseCache

Answers = ResponseCache[GenerationResponse]

MODEL = "tiny-1"
QUESTIONS = ("What is a cache?", "Why is it hot?", "When is it honest?")


def ask(question: str, *, temperature: float = 0.7) -> GenerationRequest:
    """A request to the model."""
    messages = [ChatMessage("system", "Answer briefly."), ChatMessage("user", question)]
    return GenerationRequest(messages, temperature=temperature, model=MODEL)


async def main(url: str, report: Report) -> None:
    """What a service saves that asks a model the same things again and again."""
    config = settings(url, "llm", types={"llm_response": {"ttl": "2h", "tiers": ["memory", "redis"]}})
    with model_server() as model:
        async with (
            cache_of(config) as manager,
            httpx.AsyncClient(base_url=model.url, timeout=30) as client,
        ):
            cache, asking = ResponseCache(manager), ModelClient(client)
            await whole_answers(cache, asking, model, report)
            await streams(cache, asking, model, report)
            await figures(cache, model, report)


async def whole_answers(cache: Answers, asking: ModelClient, model: ModelServer, report: Report) -> None:
    """Three questions, forty times each, many of them at once."""

    async def answer(question: str) -> str:
        request, began = ask(question), time.perf_counter()
        response = await cache.get_or_generate(request, asking.generate)
        took_ms = (time.perf_counter() - began) * 1000
        await cache.cache_request_metrics(
            response.request_id, response.provider_used, took_ms, response.cost_usd
        )
        return response.content

    answers = await asyncio.gather(*(answer(question) for question in QUESTIONS * 20))
    answers += [await answer(question) for question in QUESTIONS * 20]
    report.tell("questions asked, calls of the model", f"{len(answers)}, {model.calls}")
    report.show(
        "the model is asked once for each question", holds=model.calls == len(QUESTIONS) == len(set(answers))
    )

    await cache.get_or_generate(ask(QUESTIONS[0], temperature=0.0), asking.generate)
    report.show("every field of a request counts", holds=model.calls == len(QUESTIONS) + 1)

    metadata = await cache.get_metadata(ask(QUESTIONS[0]))
    report.show(
        "each answer has a record of who gave it, and when",
        holds=metadata is not None
        and metadata["provider_used"] == "stand-in"
        and metadata["ttl_seconds"] == 7200,
    )

    calls = model.calls
    await cache.invalidate_model(MODEL)
    await answer(QUESTIONS[0])
    report.show(
        "a new version of the model: one command, and it is asked again", holds=model.calls == calls + 1
    )


async def streams(cache: Answers, asking: ModelClient, model: ModelServer, report: Report) -> None:
    """Words are passed on as they come, kept once they are all there, and given again as a stream."""
    request, calls = ask("Tell me a story."), model.calls

    async def read() -> tuple[list[str], float]:
        began, first, words = time.perf_counter(), 0.0, list[str]()
        async for word in cache.get_or_stream(request, asking.stream, provider_used="stand-in"):
            first = first or time.perf_counter() - began
            words.append(word)
        return words, first

    together = await asyncio.gather(read(), read(), read())
    again, first = await read()
    report.tell(
        "first word of a stream, and of it again", f"{together[0][1] * 1e3:.1f} ms, {first * 1e6:.0f} µs"
    )
    report.show("three read one stream of the model", holds=model.calls == calls + 1)
    report.show(
        "they get the same words, and so does who comes later",
        holds=all(words == again for words, _ in together),
    )
    whole = await cache.get_cached_response(request)
    report.show(
        "a stream that was kept is an answer, too",
        holds=whole is not None and whole.content == "".join(again),
    )

    async def breaks_off(request: GenerationRequest) -> AsyncIterator[str]:
        async for word in asking.stream(request):
            yield word
            raise ConnectionError("the model went away")

    broken = ask("Tell me another.")
    try:
        async for _ in cache.get_or_stream(broken, breaks_off):
            pass
    except ConnectionError:
        report.show(
            "a stream that broke off is not kept", holds=await cache.get_cached_response(broken) is None
        )


async def figures(cache: Answers, model: ModelServer, report: Report) -> None:
    """What the cache has to say of itself, and of the model."""
    stats, period = await cache.get_cache_stats(), await cache.get_metrics_for_period(hours=24)
    report.tell("hit rate, answers kept", f"{stats.hit_rate:.0%}, {stats.cached_responses}")
    report.tell("billed by the model", f"${model.billed:.4f}")
    calls_without = 40 * len(QUESTIONS)
    report.tell("calls saved", f"{1 - model.calls / calls_without:.0%} of {calls_without}")
    report.tell("calls that were recorded, their cost", f"{len(period)}, ${period.totals.cost_usd:.4f}")
    report.show(
        "one call is recorded once, however often its answer was used",
        holds=len(period) == len(QUESTIONS) + 1,
    )


if __name__ == "__main__":
    sys.exit(run("Answers of a language model: whole and streamed", main))
