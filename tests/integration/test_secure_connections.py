"""TLS, users with few rights, unix sockets: all that a URL can ask for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from stoker.core import CacheConfig, CacheManager, Everything, Key, Tag
from stoker.core.errors import LinkError
from stoker.core.events import apply_events, parse_event
from stoker.core.maintenance.cleanup import cleanup_metrics
from stoker.core.maintenance.sizes import measure_sizes
from stoker.core.maintenance.sweep import sweep
from stoker.core.warming.hotkeys import ranking
from stoker.core.warming.rates import compute_hit_rates
from tests.certificates import Certificates, TlsServer
from tests.clusters import ClusterServers, Sentinels, replicate
from tests.conftest import missing
from tests.managers import PATIENT, make_manager
from tests.servers import RedisServer, free_port
from tests.waiting import eventually

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
PASSWORD = "s3cret/with@signs"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if not shutil.which("openssl"):
        missing("the program openssl")
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls(certificates: Certificates) -> Iterator[TlsServer]:
    server = TlsServer(certificates).start()
    yield server
    server.stop()


class At:
    """A URL of a server that needs more than its address."""

    def __init__(self, url: str) -> None:
        self.url = url


def manager(url: str, **types: dict[str, Any]) -> CacheManager:
    config = CacheConfig.model_validate(
        {"prefix": "stoker", "redis": {"url": url, **PATIENT}, "types": types}
    )
    return CacheManager(config, recording=True)


async def use(cache: CacheManager) -> None:
    """A value comes back, and an invalidation ends it."""
    assert await cache.set("db_query", "k", "v" * 100_000, tags=["t"])
    assert await cache.get("db_query", "k") == "v" * 100_000
    assert (await cache.invalidate(Tag("t"))).acknowledged
    assert await cache.get("db_query", "k") is None


async def why_not(cache: CacheManager) -> str:
    """Why a link can't be opened."""
    async with cache:
        assert not cache.link.ready
        with pytest.raises(LinkError) as told:
            await cache.link.call("PING")
    return str(told.value)


async def test_tls_with_the_authority_of_the_url(tls: TlsServer) -> None:
    async with make_manager(tls, "t") as cache:
        await use(cache)


async def test_tls_refuses_a_certificate_of_another_authority(tls: TlsServer) -> None:
    assert "certificate verify failed" in await why_not(
        make_manager(At(f"rediss://127.0.0.1:{tls.tls_port}"), "t")
    )


async def test_tls_refuses_a_certificate_for_another_name(certificates: Certificates) -> None:
    server = TlsServer(certificates, "--bind", "127.0.0.1", "127.0.0.2").start()
    try:
        url = server.url.replace("127.0.0.1", "127.0.0.2")
        assert "127.0.0.2" in await why_not(make_manager(At(url), "t"))
    finally:
        server.stop()


async def test_tls_with_a_certificate_of_ones_own(certificates: Certificates) -> None:
    server = TlsServer(certificates, clients=True).start()
    shown = f"ssl_certfile={certificates.certificate('client')}&ssl_keyfile={certificates.key('client')}"
    try:
        async with make_manager(At(f"{server.url}&{shown}"), "t") as cache:
            await use(cache)
        assert await why_not(make_manager(server, "t"))
    finally:
        server.stop()


async def test_a_tls_server_that_was_away_is_found_again(tls: TlsServer) -> None:
    async with make_manager(tls, "t") as cache:
        tls.kill()
        await eventually(lambda: not cache.link.ready, "the loss is noticed")
        tls.start()
        await eventually(lambda: cache.link.ready, "the return is noticed")
        await use(cache)


async def test_a_cluster_that_speaks_tls(certificates: Certificates) -> None:
    cluster = ClusterServers(3, certificates=certificates)
    try:
        cluster.start()
        async with make_manager(cluster, "t") as cache:
            await use(cache)
            assert len(cache.link.masters) == 3
    finally:
        cluster.stop()


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "the.sock"
    server = RedisServer("--unixsocket", str(path)).start()
    try:
        async with make_manager(At(f"unix://{path}?db=2"), "t") as cache:
            await use(cache)
        assert server.client().info("keyspace").keys() == {"db2"}
    finally:
        server.stop()


def documented_rule() -> list[str]:
    """The rights that operations.md says a user needs, as words of ACL SETUSER."""
    text = OPERATIONS.read_text(encoding="utf-8")
    found = re.search(r"^ACL SETUSER stoker ((?:.|\\\n)+?)$(?!\n  )", text, re.MULTILINE)
    assert found, "there is a rule"
    return [
        word for word in found[1].replace("\\\n", " ").replace("'", "").split() if not word.startswith(">")
    ]


async def test_the_documented_rights_are_enough_and_few(own_redis_server: RedisServer) -> None:
    client = own_redis_server.client()
    client.execute_command("ACL", "SETUSER", "stoker", f">{PASSWORD}", *documented_rule())
    url = f"redis://stoker:{quote(PASSWORD, safe='')}@127.0.0.1:{own_redis_server.port}/0"
    calls = 0

    async def load(_: str) -> int:
        nonlocal calls
        calls += 1
        return calls

    types: dict[str, dict[str, Any]] = {
        "product": {"tiers": ["memory", "redis"], "ttl": 60, "stale": 60},
        "account": {"kind": "authoritative"},
    }
    async with manager(url, **types) as cache, manager(url, **types) as peer:
        await use(cache)
        for key in map(str, range(20)):
            assert await cache.get_or_load("product", key, load, key)
        assert await cache.set("account", "a", 1)
        assert (await peer.invalidate(Key("product", "1"), Everything())).acknowledged
        await apply_events(cache, [parse_event(b'{"scopes": [{"tag": "t"}]}')])
        await eventually(lambda: has_hot_keys(cache), "the accesses are counted", timeout=30)
        await compute_hit_rates(cache)
        await measure_sizes(cache)
        assert not (await cleanup_metrics(cache)).error
        assert (await sweep(cache, minimum_age=0.0, minimum_records=1)).status == "done"
    refused = [(entry["reason"], entry["object"]) for entry in client.acl_log()]
    assert refused == []
    stranger = RedisServer.client(own_redis_server)
    stranger.execute_command("AUTH", "stoker", PASSWORD)
    for command in (("GET", "another:key"), ("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "SET", "save", "")):
        with pytest.raises(Exception, match=r"(?i)no permissions|NOPERM"):
            stranger.execute_command(*command)


async def has_hot_keys(cache: CacheManager) -> bool:
    return bool(await ranking(cache, "product", 10))


async def test_sentinels_and_server_have_passwords_of_their_own() -> None:
    options = ("--requirepass", "of the server", "--masterauth", "of the server")
    server, replica = (RedisServer(*options, "--repl-diskless-sync-delay", "0") for _ in range(2))
    sentinels = Sentinels(server, password="of the server", own_password="of the sentinels")
    try:
        server.start()
        replica.start()
        replicate(replica, server)
        sentinels.start()
        async with make_manager(sentinels, "t") as cache:
            await use(cache)
        wrong = sentinels.url.replace("of%20the%20sentinels", "another")
        told = await why_not(make_manager(At(wrong), "t"))
        assert "no sentinel says where mymaster is" in told
        assert "another" not in told
        assert "of the server" not in told
    finally:
        for one in (sentinels, replica, server):
            one.stop()


async def test_a_wrong_password_is_told_of_and_not_shown() -> None:
    server = RedisServer("--requirepass", PASSWORD).start()
    try:
        told = await why_not(make_manager(At(f"redis://:hunter2@127.0.0.1:{server.port}"), "t"))
        assert "hunter2" not in told
        assert "password" in told.lower() or "auth" in told.lower()
    finally:
        server.stop()


async def test_a_port_where_nobody_listens_is_told_of() -> None:
    port = free_port()
    assert str(port) in await why_not(make_manager(At(f"redis+cluster://127.0.0.1:{port}"), "t"))
