"""Real processes that ask a model the same: it is called once, and each invalidation is obeyed by all."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

from stoker.core import ChatMessage, GenerationRequest, ResponseCache
from tests.managers import make_config
from tests.servers import RedisServer
from tests.waiting import eventually, wait_until

#: Waits for a sign, asks ten times at once, prints what it got. The model counts its calls in the server.
PROGRAM = """
import asyncio, json, sys
from stoker.core import CacheConfig, ChatMessage, GenerationRequest, GenerationResponse, ResponseCache

url, prefix, way = sys.argv[1:]
config = CacheConfig(prefix=prefix, redis={"url": url, "timeout": 10, "connect_timeout": 10})
request = GenerationRequest([ChatMessage("user", "Hello")], 0.7, model="gpt-4o")

async def main():
    async with ResponseCache(config) as cache:
        client = cache.client

        async def generate(_):
            number = await client.incr(f"signs-{prefix}:calls")
            while not await client.exists(f"signs-{prefix}:answer"):
                await asyncio.sleep(0.01)
            return GenerationResponse(f"answer {number}", str(number), "openai")

        async def stream(asked):
            for word in (await generate(asked)).content.split():
                yield word

        async def ask():
            if way == "stream":
                return " ".join([word async for word in cache.get_or_stream(request, stream)])
            return (await cache.get_or_generate(request, generate)).content

        await client.incr(f"signs-{prefix}:ready")
        while not await client.exists(f"signs-{prefix}:go"):
            await asyncio.sleep(0.01)
        answers = await asyncio.gather(*(ask() for _ in range(10)))
        counters = cache.manager.counters.of("llm_response")
        print(json.dumps({"answers": answers, "loads": counters.loads}))

asyncio.run(main())
"""


def start(server: RedisServer, prefix: str, way: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), server.url, prefix, way]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ask_at_once(server: RedisServer, prefix: str, way: str) -> tuple[list[dict[str, Any]], int]:
    """Have three processes ask at once; return what they got, and how often the model was called."""
    client = server.client()
    processes = [start(server, prefix, way) for _ in range(3)]
    try:
        wait_until(lambda: int(client.get(f"signs-{prefix}:ready") or 0) == 3, "all are ready", timeout=60)
        client.set(f"signs-{prefix}:go", 1, ex=100)
        wait_until(lambda: client.exists(f"signs-{prefix}:calls"), "the model is called")
        client.set(f"signs-{prefix}:answer", 1, ex=100)
        found: list[dict[str, Any]] = []
        for process in processes:
            out, error = process.communicate(timeout=60)
            assert process.returncode == 0, error
            found.append(json.loads(out))
        return found, int(client.get(f"signs-{prefix}:calls"))
    finally:
        for process in processes:
            process.kill()
        forget_signs(client, prefix)


def forget_signs(client: Any, prefix: str) -> None:
    client.delete(*(f"signs-{prefix}:{name}" for name in ("ready", "go", "calls", "answer")))
    client.close()


def test_the_model_is_called_once_for_all_processes(redis_server: RedisServer, prefix: str) -> None:
    found, calls = ask_at_once(redis_server, prefix, "generate")

    assert calls == 1
    assert sum(one["loads"] for one in found) == 1
    assert [one["answers"] for one in found] == [["answer 1"] * 10] * 3


def test_the_model_streams_once_for_all_processes(redis_server: RedisServer, prefix: str) -> None:
    found, calls = ask_at_once(redis_server, prefix, "stream")

    assert calls == 1
    assert [one["answers"] for one in found] == [["answer 1"] * 10] * 3


async def test_a_process_that_is_killed_while_the_model_answers_is_replaced(
    redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    process = start(redis_server, prefix, "generate")
    try:
        await eventually(lambda: client.exists(f"signs-{prefix}:ready"), "it is ready", timeout=60)
        client.set(f"signs-{prefix}:go", 1, ex=100)
        await eventually(lambda: client.exists(f"signs-{prefix}:calls"), "it has the model at work")
        process.kill()
        process.wait()

        request = GenerationRequest([ChatMessage("user", "Hello")], 0.7, model="gpt-4o")
        async with ResponseCache(make_config(redis_server, prefix), response_type=dict) as cache:

            async def generate(_: GenerationRequest) -> dict[str, str]:
                return {"content": "from another"}

            assert await cache.get_or_generate(request, generate) == {"content": "from another"}
            assert await cache.get_cached_response(request) == {"content": "from another"}
    finally:
        process.kill()
        process.communicate()
        forget_signs(client, prefix)
