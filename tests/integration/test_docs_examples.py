"""What the pages tell a reader to type does what they say."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

from stoker.core import CacheManager
from stoker.core.log.scopes import Everything
from tests.commands import run_stoker
from tests.managers import make_manager
from tests.pages import commands, example, text_of
from tests.servers import RedisServer


def imported(source: str, name: str, folder: Path) -> ModuleType:
    """A module with this text."""
    file = folder / f"{name}.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_the_loader_of_the_page_loads(redis_server: RedisServer, prefix: str, tmp_path: Path) -> None:
    page = text_of("extending.md")
    module = imported(example(page, "loader"), "documented_loader", tmp_path)
    read = next(line for line in page.splitlines() if "cache.get_or_load(" in line and "await" in line)
    arguments = re.search(r'get_or_load\("(\w+)", "(\w+)", load_product, (\d+)\)', read)
    assert arguments
    cache_type, key, number = arguments.groups()

    async with make_manager(redis_server, prefix, product={"ttl": 60}) as cache:
        first = await cache.get_or_load(cache_type, key, module.load_product, int(number))
        assert await cache.get_or_load(cache_type, key, module.load_product, int(number)) == first
        assert isinstance(first, module.Product)
        assert cache.counters.of("product").loads == 1
        await cache.invalidate_tags("category:5")
        await cache.get_or_load(cache_type, key, module.load_product, int(number))
        assert cache.counters.of("product").loads == 2


async def test_a_record_appended_by_hand_invalidates(redis_server: RedisServer, prefix: str) -> None:
    lines = [shlex.split(line) for _, line in commands("redis-cli") if " stoker:log NOMKSTREAM" in line]
    assert len(lines) == 2
    client = redis_server.client()
    async with make_manager(redis_server, prefix, product={"ttl": 60}) as cache:
        for words in lines:
            assert await cache.set("product", "42", "tea", tags=["category:5"])
            assert await cache.get("product", "42") == "tea"
            assert client.execute_command(*[word.replace("stoker:", f"{prefix}:") for word in words[1:]])
            assert await cache.get("product", "42") is None
    client.close()


async def test_the_log_is_shortened_as_the_page_says(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    """What an invalidation killed stays dead, for readers that were there and for new ones."""
    lines = [line for _, line in commands("stoker") if "--everything" in line and "--json" in line]
    trims = [line for _, line in commands("redis-cli") if "XTRIM" in line]
    assert (len(lines), len(trims)) == (1, 1)
    client = redis_server.client()
    async with make_manager(redis_server, prefix, product={"ttl": 60}) as there:
        await there.set("product", "1", "old")
        await there.invalidate_type("product")
        for number in range(10):
            await there.invalidate_tags(f"tag:{number}")

        done = run_stoker(
            *shlex.split(lines[0])[1:],
            url=redis_server.url,
            folder=tmp_path,
            environment={"STOKER_PREFIX": prefix},
        )
        assert done.returncode == 0, done.stderr
        log_id = json.loads(done.stdout)["log_id"]
        words = [word.replace("stoker:", f"{prefix}:") for word in shlex.split(trims[0])[1:]]
        assert client.execute_command(*words[:-1], log_id) == 12
        assert client.xlen(f"{prefix}:log") == 1

        assert await there.get("product", "1") is None
        async with make_manager(redis_server, prefix, product={"ttl": 60}) as new:
            assert await new.get("product", "1") is None
            assert await new.set("product", "1", "new")
        assert await there.get("product", "1") == "new"
        assert (await there.invalidate(Everything())).acknowledged
        assert await there.get("product", "1") is None
    client.close()


async def test_a_log_that_is_gone_answers_nil(redis_server: RedisServer, prefix: str) -> None:
    """As docs/wire-format.md says of NOMKSTREAM."""
    client = redis_server.client()
    assert client.execute_command("XADD", f"{prefix}:log", "NOMKSTREAM", "*", "key", "product:42") is None
    async with make_manager(redis_server, prefix, product={}) as cache:
        assert isinstance(cache, CacheManager)
        assert client.execute_command("XADD", f"{prefix}:log", "NOMKSTREAM", "*", "key", "product:42")
    client.close()
