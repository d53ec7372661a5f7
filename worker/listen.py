"""Addresses that a component listens on: `127.0.0.1:9540`, `[::1]:9540`."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from stoker.core.errors import ConfigError, StokerError


class PortTakenError(StokerError):
    """Another program listens there already; the message names the port and the option to change."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, option: str) -> Address:
        """Read `host:port`.

        Args:
            text: What the configuration says.
            option: Its name there, for the message.

        Raises:
            ConfigError: It is no address.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ConfigError(f"{option}: {text!r} is no address to listen on: write it like 127.0.0.1:9540")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """How a client on this machine reaches it."""
        anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # read, not bound
        return f"http://{Address(anywhere.get(self.host, self.host), self.port)}"


def listening_socket(address: Address, option: str) -> socket.socket:
    """Bind and return a listening TCP socket.

    Raises:
        PortTakenError: Another program listens there.
        ConfigError: This machine has no such address, or the port is not for this user.
    """
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, where = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
            sock.listen(128)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(
                f"port {address.port} on {address.host} is taken by another program: "
                f"stop that one, or set {option} ({environment_name(option)}) to another address"
            ) from None
        raise ConfigError(f"{option}: can't listen on {address}: {error.strerror or error}") from None
    return sock


def environment_name(option: str) -> str:
    """The environment variable that sets an option.

    >>> environment_name("metrics.listen")
    'STOKER_METRICS__LISTEN'
    """
    return "STOKER_" + option.upper().replace(".", "__")
