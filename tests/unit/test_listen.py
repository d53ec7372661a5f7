"""Addresses to listen on, and ports that are taken."""

from __future__ import annotations

import socket

import pytest

from stoker.core.errors import ConfigError
from stoker.worker.listen import Address, PortTakenError, listening_socket


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9540", "127.0.0.1", 9540), ("[::1]:80", "::1", 80), ("a:0", "a", 0)],
)
def test_addresses_are_read(text: str, host: str, port: int) -> None:
    address = Address.parse(text, "metrics.listen")

    assert (address.host, address.port) == (host, port)
    assert str(address) == text


@pytest.mark.parametrize("text", ["9540", ":9540", "127.0.0.1", "host:port", "host:70000", "host:-1"])
def test_what_is_no_address_names_the_option(text: str) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.listen: .* is no address"):
        Address.parse(text, "metrics.listen")


def test_a_wildcard_is_reached_over_the_loopback() -> None:
    assert Address("0.0.0.0", 80).url == "http://127.0.0.1:80"
    assert Address("::", 80).url == "http://[::1]:80"


def test_a_taken_port_names_itself_and_the_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortTakenError) as error:
            listening_socket(Address("127.0.0.1", port), "worker.listen")

    assert str(port) in str(error.value)
    assert "worker.listen (STOKER_WORKER__LISTEN)" in str(error.value)


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(ConfigError, match=r"worker\.listen: can't listen on 192\.0\.2\.1:80"):
        listening_socket(Address("192.0.2.1", 80), "worker.listen")
