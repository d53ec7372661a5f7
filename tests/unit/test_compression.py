"""Compression of payloads: by method and level, within bounds, told to whoever wants to know."""

from __future__ import annotations

import random
import threading
import zlib
from typing import Any

import pytest
import zstandard
from pydantic import ValidationError

from stoker.core.entries.codec import encode_value
from stoker.core.entries.compression import compress, compressing, expand
from stoker.core.errors import EntryError
from stoker.core.settings.policy import Policy

TEXT_OF_WORDS = "the cache keeps what is asked for often and forgets the rest of what it was told"
WORDS = TEXT_OF_WORDS.split()


def text_of(size: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=size))[:size]


TEXT = text_of(20_000, seed=7).encode()


@pytest.mark.parametrize(
    ("method", "level"), [("zstd", None), ("zstd", 1), ("zstd", 19), ("zlib", None), ("zlib", 9)]
)
def test_what_is_compressed_comes_back(method: str, level: int | None) -> None:
    packed = compress(TEXT, method, level)

    assert len(packed) < len(TEXT) / 2
    assert expand(packed, method, len(TEXT)) == TEXT


def test_any_reader_of_the_format_can_expand_it() -> None:
    assert zstandard.decompress(compress(TEXT, "zstd", 6)) == TEXT
    assert zlib.decompress(compress(TEXT, "zlib", 6)) == TEXT


@pytest.mark.parametrize(("method", "low", "high"), [("zstd", 1, 19), ("zlib", 1, 9)])
def test_a_type_s_level_is_used(method: Any, low: int, high: int) -> None:
    def size(level: int | None) -> int:
        return len(encode_value(TEXT.decode(), Policy(compression=method, compression_level=level))[1])

    assert size(high) < size(low)
    assert size(None) == size({"zstd": 3, "zlib": 1}[method])


@pytest.mark.parametrize(
    ("method", "level", "says"),
    [
        ("zlib", 10, "from 1 up to 9 with compression: zlib"),
        ("none", 1, "not given with compression: none"),
        ("zstd", 23, "less than or equal to 22"),
        ("zstd", 0, "greater than or equal to 1"),
    ],
)
def test_a_level_that_the_method_does_not_have_is_refused(method: Any, level: int, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Policy(compression=method, compression_level=level)


@pytest.mark.parametrize("method", ["zstd", "zlib"])
def test_what_is_damaged_or_too_large_is_refused(method: str) -> None:
    packed = compress(TEXT, method, None)

    for data in (packed[:-20], b"\x00" * 40, b"", packed[:4] + b"\xff" * 40):
        with pytest.raises(EntryError):
            expand(data, method, len(TEXT))
    with pytest.raises(EntryError, match="more than"):
        expand(packed, method, len(TEXT) - 1)
    assert expand(packed, method, len(TEXT)) == TEXT, "what was refused leaves nothing behind"


def test_threads_do_not_disturb_each_other() -> None:
    values = [text_of(30_000, seed).encode() for seed in range(4)]
    failures: list[bool] = []
    start = threading.Barrier(len(values))

    def work(value: bytes) -> None:
        start.wait()
        packed = [compress(value, "zstd", None) for _ in range(50)]
        failures.extend(expand(one, "zstd", len(value)) != value for one in packed)

    threads = [threading.Thread(target=work, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [False] * 200


def test_whoever_asks_is_told_of_each_compression() -> None:
    told: list[tuple[int, int, float]] = []
    token = compressing.set(lambda before, after, seconds: told.append((before, after, seconds)))
    try:
        _, payload = encode_value(TEXT.decode(), Policy())
        encode_value("short", Policy())
    finally:
        compressing.reset(token)
    encode_value(TEXT.decode(), Policy())

    [(before, after, seconds)] = told
    assert before == len(TEXT) + 3
    assert after == len(payload)
    assert seconds > 0
