"""Memory alone works where redis-py is not installed; what needs it says what to install."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

#: Stands before all other importers and knows nothing of some packages, as if they were not installed.
BLOCK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in BLOCKED or name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def run(code: str, *blocked: str) -> str:
    """Run a program in a process that has not got some packages; return what it printed."""
    program = f"BLOCKED = {set(blocked)!r}\n{BLOCK}\n{textwrap.dedent(code)}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


MEMORY = """
import asyncio
from stoker.core import CacheConfig, CacheManager, CacheType, MemoryCache, Tag, cached, loader

@loader("without.redis", cache_type="db_query")
async def load(n: int) -> int:
    return n * 2

async def main():
    async with MemoryCache(namespace="users", default_ttl=60, max_size=10) as cache:
        assert await cache.set("a", {"n": 1}, nx=True)
        assert await cache.get("a") == {"n": 1}
        assert await cache.increment("n") == 1
        assert await cache.invalidate("*") == 1
        assert (await cache.get_stats()).backend == "memory"
    sentinels = "redis+sentinel://a:1/main"  # nobody asks them
    async with CacheManager(CacheConfig(backend="memory", url=sentinels)) as manager:
        assert await manager.get_or_load(CacheType.DB_QUERY, "1", load, 1) == 2

        @cached(cache=manager, cache_type="db_query")
        async def double(n: int) -> int:
            return n * 2

        assert await double(2) == await double(2) == 4
        assert (await manager.invalidate(Tag("t"))).acknowledged

asyncio.run(main())
print(sorted(name for name in ("redis", "hiredis", "celery") if name in sys.modules))
"""


def test_all_of_memory_works_where_no_client_of_redis_is_installed() -> None:
    assert run(MEMORY, "redis", "hiredis", "celery") == "[]"


@pytest.mark.parametrize(
    ("blocked", "named"),
    [
        (("redis", "hiredis"), "needs redis and hiredis"),
        (("redis",), "needs redis:"),
        (("hiredis",), "needs hiredis:"),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        "CacheManager()",
        "CacheManager(CacheConfig(redis_host='cache'))",
        "RedisCache()",
        "MultiLayerCache()",
        "CacheManager(CacheConfig(url='redis+cluster://a:1,b:2'))",
        "CacheManager(CacheConfig(url='redis+sentinel://a:1/main'))",
    ],
)
def test_what_needs_it_says_what_to_install(make: str, blocked: tuple[str, ...], named: str) -> None:
    said = run(
        f"""
        from stoker.core import CacheConfig, CacheManager, ConfigError, MultiLayerCache, RedisCache
        try:
            {make}
        except ConfigError as error:
            print(error)
        """,
        *blocked,
    )
    assert named in said
    assert "pip install 'stoker[redis]'" in said


def test_a_client_is_imported_when_a_cache_is_made_that_has_a_server_and_not_before() -> None:
    said = run(
        """
        import stoker.core
        first = [name for name in ("redis", "prometheus_client") if name in sys.modules]
        stoker.core.CacheManager(stoker.core.CacheConfig(backend="memory"))
        second = [name for name in ("redis", "prometheus_client") if name in sys.modules]
        stoker.core.RedisCache()
        print(first, second, "redis" in sys.modules)
        stoker.core.CacheMetrics()
        """
    )
    assert said == "[] [] True"


def test_a_fault_of_what_is_installed_is_not_taken_for_its_absence() -> None:
    said = run(
        """
        import stoker.core
        try:
            stoker.core.RedisCache()
        except ModuleNotFoundError as error:
            print(type(error).__name__, error.name)
        """,
        "redis.backoff",  # redis-py imports it
    )
    assert said == "ModuleNotFoundError redis.backoff"


def test_the_library_itself_needs_no_client_and_the_extras_bring_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [line.split(">")[0].split("[")[0] for line in project["dependencies"]]
    assert not {"redis", "hiredis", "celery"} & set(names)
    extras = project["optional-dependencies"]
    assert sorted(line.split(">")[0] for line in extras["redis"]) == ["hiredis", "redis"]
    assert "stoker[redis]" in extras["worker"]
    assert extras["all"] == ["stoker[redis,worker,embedded]"]


def test_a_name_that_is_not_there_is_told_as_ever() -> None:
    import stoker.core

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = stoker.core.nothing  # type: ignore[attr-defined]  # pyright: ignore
    assert stoker.core.CacheMetrics.__name__ in stoker.core.__all__
