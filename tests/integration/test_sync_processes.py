"""The sync face where it is used: forked processes, threaded web servers, Celery's prefork workers."""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from stoker.core import SyncCacheManager, cached, invalidate_on_write
from tests.commands import clean_environment
from tests.managers import make_config
from tests.servers import RedisServer
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent


def in_a_child(work: Callable[[], Any]) -> Any:
    """Run something in a forked child, and return what it returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        try:
            answer = json.dumps(work())
        except BaseException as error:  # noqa: BLE001  it is told to the parent
            answer = json.dumps(repr(error))
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer)


def test_a_forked_child_has_a_connection_of_its_own(redis_server: RedisServer, prefix: str) -> None:
    tiers = ["memory", "redis"]
    with SyncCacheManager(make_config(redis_server, prefix, page={"tiers": tiers})) as cache:
        calls: list[int] = []

        @cached(cache, "items", cache_type="page")
        def find(number: int) -> list[int]:
            calls.append(number)
            return [number, os.getpid()]

        parent = find(1)

        def child() -> Any:
            before = cache.get("page", "child")
            cache.set("page", "child", "set by the child")
            cache.delete("page", "parent")
            return [before, find(1), find(2)[0], len(calls), cache._home.loop.running]

        cache.set("page", "parent", 1)
        assert in_a_child(child) == [None, parent, 2, 2, True]
        assert cache.get("page", "child") == "set by the child"
        wait_until(lambda: cache.get("page", "parent") is None, "what the child invalidated is heard of")
        assert find(1) == parent
        assert calls == [1]


def test_many_children_and_the_parent_go_on_side_by_side(redis_server: RedisServer, prefix: str) -> None:
    with SyncCacheManager(make_config(redis_server, prefix, page={})) as cache:
        cache.set("page", "k", 0)
        children: list[int] = []
        for _ in range(3):
            child = os.fork()
            if child == 0:  # pragma: no cover - runs in the child
                done = all(cache.increment("page", "n") for _ in range(50))
                cache.close()
                os._exit(0 if done else 1)
            children.append(child)
        for _ in range(50):
            assert cache.increment("page", "n")
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 3
        assert cache.counter("page", "n") == 200


class ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002


@contextmanager
def served(application: Callable[..., Iterable[bytes]]) -> Generator[str]:
    """Serve a WSGI application, a thread for each request, as Flask's and Django's servers do."""
    with make_server("127.0.0.1", 0, application, ThreadedServer, Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_threaded_web_server(redis_server: RedisServer, prefix: str) -> None:
    with SyncCacheManager(make_config(redis_server, prefix, page={})) as cache:
        rows, loads, together = {"1": "one", "2": "two"}, list[str](), threading.Barrier(2)

        @cached(cache, "users", cache_type="page", key_params=["number"])
        def get_user(number: str, request: Any) -> str:
            loads.append(number)
            if number != "1":
                return rows[number]
            together.wait(20)  # two requests that load different keys are served at once
            return rows[number]

        @invalidate_on_write(cache, "users", cache_type="page", key_params=["number"])
        def rename(number: str, name: str) -> None:
            rows[number] = name

        def application(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            number = environ["PATH_INFO"].strip("/")
            if number == "meet":
                together.wait(20)
                number = "2"
            if environ["REQUEST_METHOD"] == "PUT":
                rename(number, environ["QUERY_STRING"])
            start("200 OK", [("Content-Type", "text/plain")])
            return [get_user(number, environ).encode()]

        def ask(url: str, path: str, method: str = "GET") -> str:
            with urllib.request.urlopen(
                urllib.request.Request(url + path, method=method), timeout=30
            ) as answer:
                return str(answer.read().decode())

        with served(application) as url, concurrent.futures.ThreadPoolExecutor(10) as pool:
            first = [pool.submit(ask, url, path) for path in ("/1", "/1", "/1", "/meet")]
            assert [answer.result(30) for answer in first] == ["one", "one", "one", "two"]
            assert sorted(loads) == ["1", "2"]
            assert ask(url, "/2?zwei", "PUT") == "zwei"
            assert [ask(url, "/1"), ask(url, "/2")] == ["one", "zwei"]
            assert sorted(loads) == ["1", "2", "2"]


def program(server: RedisServer, prefix: str) -> str:
    return f"""
from stoker.core import CacheConfig, SyncCacheManager, cached
cache = SyncCacheManager(CacheConfig(prefix={prefix!r}, redis_url={server.url!r}, default_ttl=60,
                                     socket_timeout=10, types={{"item": {{}}}}))
"""


def test_a_process_ends_without_closing_it(redis_server: RedisServer, prefix: str) -> None:
    source = program(redis_server, prefix) + "cache.set('item', 'k', 1)\nprint(cache.get('item', 'k'))\n"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", source],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "1\n")
    # asyncio's debug mode also tells of steps that took long, as on a busy machine any may.
    told = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert all(line.startswith("action=epoch_opened") for line in told), done.stderr


AT_EXIT = """
import atexit

class Session:
    def __init__(self, name):
        self.name = name
    def __del__(self):
        cache.delete("item", self.name)

atexit.register(lambda: print(cache.get("item", "k")))
cache.set("item", "k", 1)
left = Session("k")
"""


def test_a_process_whose_last_objects_use_the_cache_ends(redis_server: RedisServer, prefix: str) -> None:
    """A thread that is started then never runs: who waited for it would wait for ever."""
    done = subprocess.run(
        [sys.executable, "-c", program(redis_server, prefix) + AT_EXIT],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "UsageError: the interpreter ends" in done.stderr


JOBS = """
import os
from celery import Celery

app = Celery("jobs", broker={url!r})
app.conf.update(broker_connection_retry_on_startup=True, task_default_queue={prefix!r} + ":celery:jobs",
                broker_transport_options={{"global_keyprefix": {prefix!r} + ":celery:"}})
cache.set("item", "imported by", os.getpid())  # before the pool is forked

@cached(cache, "orders", cache_type="item")
def total(number: int) -> list[int]:
    return [number, os.getpid()]

@app.task
def work(number: int) -> None:
    found = total(number)
    cache.increment("item", "done")
    cache.set("item", f"worker {{os.getpid()}}", found)
    cache.set("item", f"answer {{number}}", found)
"""


def test_celery_prefork_workers(redis_server: RedisServer, prefix: str, tmp_path: Path) -> None:
    source = program(redis_server, prefix) + JOBS.format(url=redis_server.url, prefix=prefix)
    (tmp_path / "jobs.py").write_text(source)
    log = tmp_path / "log"
    with log.open("wb") as out:
        worker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "celery",
                "-A",
                "jobs",
                "worker",
                "-P",
                "prefork",
                "-c",
                "2",
                "-l",
                "warning",
            ],
            cwd=tmp_path,
            env=clean_environment(PYTHONPATH=str(tmp_path)),
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    with SyncCacheManager(make_config(redis_server, prefix, item={"ttl": 60})) as cache:
        try:
            send = "from jobs import work\nfor number in [1, 2, 3, 1, 2, 3] * 5:\n    work.delay(number)\n"
            subprocess.run(
                [sys.executable, "-c", send], cwd=tmp_path, env=clean_environment(), timeout=60, check=True
            )
            wait_until(lambda: cache.counter("item", "done") == 30, "all tasks have run", timeout=60)
            answers = [cache.get("item", f"answer {number}") for number in (1, 2, 3)]
            assert [answer[0] for answer in answers] == [1, 2, 3]
            importer = cache.get("item", "imported by")
            assert all(answer[1] not in {importer, os.getpid()} for answer in answers), (
                "children have run them"
            )
        except BaseException:  # whatever failed, the worker's log says why
            print(log.read_text())
            raise
        finally:
            worker.terminate()
            code = worker.wait(30)
    assert code == 0, log.read_text()
    for key in redis_server.client().scan_iter(match=f"{prefix}:celery:*"):
        redis_server.client().delete(key)
