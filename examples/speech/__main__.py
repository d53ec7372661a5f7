"""`python -m examples.speech`."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time

from examples.running import Report, cache_of, run, settings
from examples.speech.engine import Engine
from stoker.core import CacheManager
from stoker.core.metrics.stats import human_bytes

#: Types for audio. It is compressed already, or can't be: zstd would only cost time.
TYPES = {
    "tts_synthesis": {"ttl": "1d", "tiers": ["memory", "redis"], "compression": "none", "max_entry": "8MiB"},
    "stt_transcription": {"ttl": "1d", "tiers": ["memory", "redis"]},
}
MEMORY_BYTES = 8 * 2**20
TEXTS = [f"Text number {number}, which is read aloud." for number in range(6)]


class Speech:
    """Speech through the cache."""

    def __init__(self, cache: CacheManager, engine: Engine) -> None:
        self._cache = cache
        self._engine = engine

    async def say(self, text: str, *, seconds: float = 60.0, voice: str = "alba") -> bytes:
        """Return a text as a WAV file."""
        key = f"{voice}:{seconds:g}:{hashlib.sha256(text.encode()).hexdigest()}"
        return await self._cache.get_or_load(
            "tts_synthesis", key, self._engine.synthesize, text, seconds, voice
        )

    async def hear(self, audio: bytes) -> str:
        """Return what is said in a WAV file: it is found by its own digest, and is not part of the key."""
        key = hashlib.sha256(audio).hexdigest()
        return (await self._cache.get_or_load("stt_transcription", key, self._engine.recognize, audio)).text


async def main(url: str, report: Report) -> None:
    """Files of two megabytes, in memory within its bound and in Redis whole."""
    config = settings(url, "speech", types=TYPES, memory={"bytes": MEMORY_BYTES})
    async with cache_of(config) as cache:
        engine = Engine()
        speech = Speech(cache, engine)
        files = [await speech.say(text) for text in TEXTS]
        size = sum(map(len, files))
        report.tell("files, and their bytes", f"{len(files)}, {size / 2**20:.1f} MiB")
        report.show("each file has more than a megabyte", holds=min(map(len, files)) > 10**6)

        again = [await speech.say(text) for text in TEXTS]
        report.show(
            "they come back byte by byte, and are made once",
            holds=again == files and engine.syntheses == len(TEXTS),
        )

        stats = await cache.get_stats("tts_synthesis")
        held = stats.l1 or stats  # the memory tier's part
        report.tell("bytes in memory, and their bound", f"{held.memory_human} of {human_bytes(MEMORY_BYTES)}")
        report.show(
            "memory keeps some, within its bound; Redis has all",
            holds=0 < held.cached_keys < len(TEXTS) and held.memory_bytes <= MEMORY_BYTES,
        )
        async with CacheManager(config, recording=False) as second:
            other = Speech(second, engine)
            took = [await timed(other, TEXTS[0]) for _ in range(2)]
        report.tell(
            "in another process: from Redis, from memory", f"{took[0] * 1e3:.1f} ms, {took[1] * 1e6:.0f} µs"
        )
        report.show("another process need not make it", holds=engine.syntheses == len(TEXTS))

        await hear_and_refuse(cache, speech, engine, files, report)


async def hear_and_refuse(
    cache: CacheManager, speech: Speech, engine: Engine, files: list[bytes], report: Report
) -> None:
    """Recordings by their digest, and what is too large to be stored."""
    texts = await asyncio.gather(*(speech.hear(file) for file in files[:3] * 10))
    report.show(
        "thirty recordings, three different: three recognitions",
        holds=len(texts) == 30 and engine.recognitions == 3,
    )

    too_long = await speech.say("A whole chapter.", seconds=300)
    stored = await cache.exists(
        "tts_synthesis", f"alba:300:{hashlib.sha256(b'A whole chapter.').hexdigest()}"
    )
    report.tell("a file over max_entry", f"{len(too_long) / 2**20:.1f} MiB")
    report.show(
        "what is larger than max_entry is answered, and not stored",
        holds=len(too_long) > 8 * 2**20 and not stored,
    )


async def timed(speech: Speech, text: str) -> float:
    """Seconds that a file takes."""
    began = time.perf_counter()
    await speech.say(text)
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(run("Speech: files of megabytes", main))
