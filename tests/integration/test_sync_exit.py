"""The end of a process that has caches without an event loop, and has closed none of them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.commands import clean_environment
from tests.servers import RedisServer

BEGIN = """
import atexit, signal, sys, threading
from stoker.core import CacheConfig, SyncCacheManager, UsageError

def make(prefix):
    cache = SyncCacheManager(CacheConfig(prefix=prefix, redis_url=sys.argv[1], socket_timeout=10))
    cache.set("db_query", "a", 1)
    for _ in range(50):
        cache.get("db_query", "a")
    return cache
"""

LOCAL = """
others = [make(f"other{number}") for number in range(int(sys.argv[2]))]

def main():
    make("local")

main()
"""

#: Its caches wait for a call, one after the other, when the process ends; a time limit ends one such wait.
LIMITED = """
def stand():
    inside.release()
    threading.Event().wait()

inside, caches = threading.Semaphore(0), [make(f"other{number}") for number in range(2)]
for cache in caches:
    threading.Thread(target=cache.get_or_load, args=("db_query", "b", stand), daemon=True).start()
    inside.acquire()

def limit(*_):
    raise RuntimeError("a time limit")

signal.signal(signal.SIGALRM, limit)
atexit.register(signal.setitimer, signal.ITIMER_REAL, 0.1)
"""

BUSY = """
def use():
    while True:
        try:
            cache.get("db_query", "a")
        except UsageError:  # the interpreter ends
            return
        began.set()

cache, began = make("other0"), threading.Event()
for _ in range(4):
    threading.Thread(target=use, daemon=True).start()
began.wait()
"""


def run(source: str, server: RedisServer, *arguments: str) -> str:
    """Run a program to its end; return what it wrote to stderr but for what the first use of a log says."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + source, server.url, *arguments],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if not line.startswith("action=epoch_opened")]
    return "\n".join(told)


def counted(client: Any, prefix: str) -> int:
    """How many reads the caches of a prefix have handed over."""
    keys = client.keys(f"{prefix}:hits:*:300")
    return sum(int(number) for key in keys for number in client.hvals(key))


@pytest.mark.parametrize("others", [0, 3])
def test_a_cache_that_is_let_go_as_the_process_ends_keeps_none_from_handing_over_counts(
    own_redis_server: RedisServer, others: int
) -> None:
    assert run(LOCAL, own_redis_server, str(others)) == ""
    client = own_redis_server.client()
    for prefix in ["local", *(f"other{number}" for number in range(others))]:
        assert counted(client, prefix) == 50


def test_a_time_limit_while_one_is_closed_does_not_keep_the_others_from_it(
    own_redis_server: RedisServer,
) -> None:
    told = run(LIMITED, own_redis_server)
    assert told == "action=cache_close_failed error=RuntimeError('a time limit')"
    client = own_redis_server.client()
    assert sorted(counted(client, f"other{number}") > 0 for number in range(2)) == [False, True]


def test_threads_that_go_on_calling_do_not_keep_the_process_from_ending(
    own_redis_server: RedisServer,
) -> None:
    assert run(BUSY, own_redis_server) == ""
    assert counted(own_redis_server.client(), "other0") > 50
