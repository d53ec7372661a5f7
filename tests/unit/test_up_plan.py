"""What `stoker up` decides to run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from stoker.core.errors import ConfigError
from stoker.worker.config import StokerConfig
from stoker.worker.embedded import EmbeddedServer
from stoker.worker.up import Plan, check_ports, make_plan, own_address


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


@pytest.mark.parametrize("name", ["server", "worker", "beat", "exporter", "stoker"])
def test_names_of_parts_are_taken(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"up\.processes\.{name}"):
        plan(up={"processes": {name: {"command": "true"}}})


def test_two_parts_with_one_address_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"beat\.listen and worker\.listen are both 127\.0\.0\.1:9999"):
        check_ports(plan(worker={"listen": "127.0.0.1:9999"}, beat={"listen": "127.0.0.1:9999"}))


def test_only_pages_of_this_machine_are_its_own() -> None:
    assert str(own_address("http://localhost:8000/healthz")) == "localhost:8000"
    assert own_address("http://example.org/") is None
