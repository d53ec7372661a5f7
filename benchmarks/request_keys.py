"""What the key of a chat request costs, beside JSON with SHA-256, and beside the least there is.

Each round times each of them once, in turns and without the garbage collector; ratios are medians of the
rounds' own.

    python -m benchmarks.request_keys --rounds 9
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from pydantic import BaseModel

from benchmarks.measuring import print_document, spread
from stoker.core.responses import ChatMessage, GenerationRequest, request_key


@dataclass
class Message:
    """A message as a service may have it."""

    role: str
    content: str


@dataclass
class Request:
    """A request as a service may have it."""

    messages: list[Message]
    temperature: float
    top_p: float
    max_tokens: int | None


class MessageModel(BaseModel):
    """A message as a service may have it, checked."""

    role: str
    content: str


class RequestModel(BaseModel):
    """A request as a service may have it, checked."""

    messages: list[MessageModel]
    temperature: float
    top_p: float
    max_tokens: int | None


TEXTS = [
    ("system", "You are a helpful assistant who answers in one short paragraph."),
    ("user", "Which of the two caches keeps what is asked for often, and why does the other one not? " * 2),
    ("assistant", "The first: it counts how often a key was asked for, and lets a scan pass through. " * 3),
]


def contestants() -> dict[str, Callable[[], str]]:
    """What is timed, by name."""
    request = GenerationRequest([ChatMessage(*text) for text in TEXTS], 0.7, 1.0, 1000, "gpt-4o")
    own = Request([Message(*text) for text in TEXTS], 0.7, 1.0, 1000)
    checked = RequestModel.model_validate(asdict(own))
    plain: dict[str, Any] = msgspec.to_builtins(request)
    encode, sha256 = msgspec.msgpack.Encoder().encode, hashlib.sha256
    return {
        "request_key(GenerationRequest)": lambda: request_key(request),
        "request_key(dict)": lambda: request_key(plain),
        "request_key(a service's dataclass)": lambda: request_key(own),
        "request_key(a pydantic model)": lambda: request_key(checked),
        "json.dumps(sort_keys) and sha256": lambda: sha256(
            json.dumps(plain, sort_keys=True).encode()
        ).hexdigest(),
        "msgspec and sha256 alone": lambda: sha256(encode(request)).hexdigest(),
    }


def microseconds(function: Callable[[], str], calls: int) -> float:
    """Time a function."""
    began = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - began) / calls * 1e6


def measure(rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """Time all of them, in turns."""
    functions = contestants()
    times: dict[str, list[float]] = {name: [] for name in functions}
    gc.collect()
    gc.disable()
    for number in range(rounds):
        names = list(functions)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(microseconds(functions[name], calls))
    gc.enable()
    naive, least = times["json.dumps(sort_keys) and sha256"], times["msgspec and sha256 alone"]
    return {
        name: {
            "microseconds": round(statistics.median(found), 3),
            "spread": spread(found),
            "times_json": round(statistics.median(a / b for a, b in zip(found, naive, strict=True)), 3),
            "times_the_least": round(statistics.median(a / b for a, b in zip(found, least, strict=True)), 3),
        }
        for name, found in times.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one JSON document."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.request_keys", description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--calls", type=int, default=20_000, help="a round (default: %(default)s)")
    chosen = options.parse_args(arguments)
    print_document(vars(chosen), {"keys": measure(chosen.rounds, chosen.calls)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
