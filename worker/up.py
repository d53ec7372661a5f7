"""`stoker up`: everything that one machine needs, under one supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from stoker.core.errors import ConfigError
from stoker.core.settings.config import Loaded
from stoker.core.settings.redaction import redact, redact_url
from stoker.worker.announce import Announcer
from stoker.worker.config import ProcessConfig, StokerConfig
from stoker.worker.embedded import EmbeddedServer, free_port
from stoker.worker.listen import Address, environment_name, listening_socket
from stoker.worker.output import Output
from stoker.worker.running import Claim
from stoker.worker.supervisor import Probe, Spec, Supervisor

_SERVER, _WORK, _SCHEDULE, _APPLICATIONS = range(4)  # stages: stopped from the last to the first


@dataclass
class Plan:
    """What is going to run, and where it can be found."""

    specs: list[Spec] = field(default_factory=list[Spec])
    where: dict[str, str] = field(default_factory=dict[str, str])
    """A line on each, for the summary."""
    ports: list[tuple[Address, str]] = field(default_factory=list[tuple[Address, str]])
    """Addresses that must be free, each with the option that sets it."""
    pages: list[tuple[Address, str]] = field(default_factory=list[tuple[Address, str]])
    """Addresses that other processes will answer at: if somebody does already, it isn't them."""

    def add(self, spec: Spec, where: str) -> None:
        """Have one more child."""
        self.specs.append(spec)
        self.where[spec.name] = where


async def run_up(loaded: Loaded[StokerConfig]) -> None:
    """Run everything until SIGINT or SIGTERM.

    Args:
        loaded: The configuration; a server is embedded if it doesn't say where one is.

    Raises:
        PortTakenError: A port is taken; nothing was started.
        NoServerError: A server is needed, and there is none.
        ConfigError: Two components share an address.
        AlreadyRunningError: Another `stoker up` uses the same data directory.
    """
    began = time.monotonic()
    config = loaded.value
    config_path = absolute(loaded.path)
    with contextlib.ExitStack() as stack:
        server, url = None, config.redis.url
        if loaded.origins["redis.url"].kind == "default":
            claim = stack.enter_context(Claim(Path(config.up.data)))
            server = EmbeddedServer(Path(config.up.data))
            url = server.url
            claim.publish(url)
        plan = make_plan(config, server)
        check_ports(plan)
        output = Output(spec.name for spec in plan.specs)
        environment = child_environment(config, config_path, url if server else None, output)
        specs = [replace(spec, environment={**environment, **spec.environment}) for spec in plan.specs]
        supervisor = Supervisor(specs, output)
        announcer = asyncio.create_task(
            Announcer(supervisor, output, began=began, where=places(plan, url, config_path)).run(
                url, config.prefix
            )
        )
        try:
            await supervisor.run()
        finally:
            announcer.cancel()
            await asyncio.gather(announcer, return_exceptions=True)
        output.say("all stopped")


def make_plan(config: StokerConfig, server: EmbeddedServer | None) -> Plan:
    """Decide what runs."""
    plan = Plan()
    needs: frozenset[str] = frozenset()
    if server:
        where = f"{server.url}  (embedded; its entries are kept in {server.data})"
        plan.add(
            Spec(
                name="server", command=server.command(), stage=_SERVER, ready=server_ready(server), quiet=True
            ),
            where,
        )
        needs = frozenset({"server"})
    _add_own(plan, config, needs)
    for name, process in config.up.processes.items():
        _add_application(plan, name, process, needs)
    return plan


def _add_own(plan: Plan, config: StokerConfig, needs: frozenset[str]) -> None:
    """Add worker, beat and exporter; one that listens on port 0 is told a free one."""
    own = (
        ("worker", _WORK, config.worker.listen, "worker.listen", "/readyz"),
        ("beat", _SCHEDULE, config.beat.listen, "beat.listen", "/readyz"),
        ("exporter", _SCHEDULE, config.metrics.listen, "metrics.listen", "/metrics"),
    )
    for name, stage, listen, option, page in own:
        spec = Spec(
            name=name, command=(sys.executable, "-m", "stoker.worker.cli", name), stage=stage, needs=needs
        )
        if listen is not None:
            address = Address.parse(listen, option)
            if not address.port:
                address = Address(address.host, free_port())
            plan.ports.append((address, option))
            told = {environment_name(option): str(address)}
            spec = replace(spec, ready=http_ready(f"{address.url}/readyz"), environment=told)
            plan.add(spec, address.url + page)
        elif name != "exporter":  # which has nothing else to do
            plan.add(spec, "listens nowhere")


def _add_application(plan: Plan, name: str, process: ProcessConfig, needs: frozenset[str]) -> None:
    """Add a process of the user's."""
    spec = Spec(
        name=name,
        command=shlex.split(process.command),
        folder=Path(process.cwd) if process.cwd else None,
        stage=_APPLICATIONS,
        needs=needs,
        ready=http_ready(process.ready) if process.ready else None,
    )
    plan.add(spec, redact_url(process.ready) if process.ready else redact("command", process.command))
    if process.ready and (address := own_address(process.ready)):
        plan.pages.append((address, f"up.processes.{name}.ready"))


def check_ports(plan: Plan) -> None:
    """Make sure that all addresses are free, before anything is started.

    Raises:
        PortTakenError: One is taken.
        ConfigError: Two options say the same.
    """
    seen: dict[Address, str] = {}
    for address, option in plan.ports:
        if address in seen and address.port:
            raise ConfigError(f"{option} and {seen[address]} are both {address}: give each its own port")
        seen[address] = option
    for address, option in (*plan.ports, *plan.pages):
        listening_socket(address, option).close()


def own_address(url: str) -> Address | None:
    """The address of a page on this machine; None for one elsewhere."""
    parts = urlsplit(url)
    if parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
        return None
    return Address(parts.hostname, parts.port or 80)


def child_environment(
    config: StokerConfig, config_path: Path | None, server_url: str | None, output: Output
) -> dict[str, str]:
    """What all children get on top of this process's environment."""
    # `python` in a process's command is this one, whether or not its environment was activated.
    own_programs = str(Path(sys.executable).parent)
    environment = {
        "PYTHONUNBUFFERED": "1",
        "PATH": os.pathsep.join([own_programs, os.environ.get("PATH", os.defpath)]),
    }
    if config_path:
        environment["STOKER_CONFIG"] = str(config_path)
    if server_url:
        environment["STOKER_REDIS__URL"] = server_url
    if config.logs.format == "auto":
        environment["STOKER_LOGS__FORMAT"] = "console" if output.console else "json"
    if output.coloured:
        environment["FORCE_COLOR"] = "1"
    return environment


def absolute(path: Path | None) -> Path | None:
    """The path as other processes, in other folders, can use it."""
    return path.resolve() if path else None


def places(plan: Plan, url: str, config_path: Path | None) -> dict[str, str]:
    """What the summary says of each part: where it is."""
    server = {} if "server" in plan.where else {"server": redact_url(url)}
    file = str(config_path) if config_path else "defaults and environment, no file"
    return {**server, **plan.where, "config": file}


def server_ready(server: EmbeddedServer) -> Probe:
    """When the embedded server answers."""

    async def probe() -> str | None:
        return server.problem()

    return probe


def http_ready(url: str) -> Probe:
    """When a GET of `url` answers with 200."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    async def probe() -> str | None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {target} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
            head, _, body = (await reader.read(64 * 1024)).partition(b"\r\n\r\n")
        finally:
            writer.close()
        status = head.split(b" ", 2)[1:2]
        if status == [b"200"]:
            return None
        answer = f"{b' '.join(status).decode()} {body[:500].decode(errors='replace')}"
        return f"{redact_url(url)} answers {answer}".strip()

    return probe
