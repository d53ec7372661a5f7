"""What `stoker up` decides to run."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from stoker.core.errors import ConfigError
from stoker.worker.config import StokerConfig
from stoker.worker.embedded import EmbeddedServer
from stoker.worker.up import Plan, check_ports, http_ready, make_plan, own_address


def plan(server: EmbeddedServer | None = None, **config: Any) -> Plan:
    return make_plan(StokerConfig.model_validate(config), server)


def test_all_parts_and_the_users_processes_last() -> None:
    found = plan(up={"processes": {"shop": {"command": "python -m shop --port 8000"}}})

    assert [spec.name for spec in found.specs] == ["worker", "beat", "exporter", "shop"]
    assert [spec.stage for spec in found.specs] == sorted(spec.stage for spec in found.specs)
    assert found.specs[-1].command == ["python", "-m", "shop", "--port", "8000"]
    assert found.where["exporter"] == "http://127.0.0.1:9540/metrics"


def test_all_wait_for_an_embedded_server(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path, program=Path(sys.executable))
    first, *others = plan(server).specs

    assert first.name == "server"
    assert first.quiet
    assert all(spec.needs == {"server"} for spec in others)


def test_a_part_that_listens_nowhere_is_ready_when_it_has_started() -> None:
    found = plan(worker={"listen": None}, beat={"listen": None}, metrics={"listen": None})

    assert [spec.name for spec in found.specs] == ["worker", "beat"]
    assert all(spec.ready is None for spec in found.specs)
    assert found.ports == []


def test_port_0_becomes_a_free_one_that_the_part_is_told() -> None:
    found = plan(worker={"listen": "127.0.0.1:0"})

    (address, option) = found.ports[0]
    assert option == "worker.listen"
    assert address.port > 0
    assert found.specs[0].environment == {"STOKER_WORKER__LISTEN": str(address)}


def test_the_summary_shows_no_secrets() -> None:
    found = plan(up={"processes": {"shop": {"command": "env API_KEY=hunter2 serve"}}})

    assert found.where["shop"] == "env API_KEY=*** serve"
    assert found.specs[-1].command == ["env", "API_KEY=hunter2", "serve"]


async def test_a_page_is_asked_for_with_its_query() -> None:
    lines: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await reader.readuntil(b"\r\n\r\n")).splitlines()[0])
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        root = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await http_ready(f"{root}/ready?deep=1&x")() is None
        assert await http_ready(f"{root}?deep=1")() is None

    assert lines == [b"GET /ready?deep=1&x HTTP/1.0", b"GET /?deep=1 HTTP/1.0"]


def test_two_parts_with_one_address_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"beat\.listen and worker\.listen are both 127\.0\.0\.1:9999"):
        check_ports(plan(worker={"listen": "127.0.0.1:9999"}, beat={"listen": "127.0.0.1:9999"}))


def test_only_pages_of_this_machine_are_its_own() -> None:
    assert str(own_address("http://localhost:8000/healthz")) == "localhost:8000"
    assert own_address("http://example.org/") is None
