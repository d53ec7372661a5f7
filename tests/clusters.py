"""Real clusters, and real sentinels, as child processes on free ports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self
from urllib.parse import quote

import redis

from tests.certificates import Certificates, TlsServer
from tests.servers import RedisServer, free_port, redis_program
from tests.waiting import wait_until

SLOTS = 16384

#: A server that is silent for so long is taken to have failed, in milliseconds.
NODE_TIMEOUT_MS = 1000


class ClusterServers:
    """A cluster of some masters, each with some replicas; slots are spread evenly.

    Args:
        masters: How many.
        replicas: Of each master.
        certificates: For a cluster that speaks TLS, within and to clients.
        program: Which server; the one under test where not given.
    """

    def __init__(
        self,
        masters: int = 3,
        *,
        replicas: int = 0,
        certificates: Certificates | None = None,
        program: str | None = None,
    ) -> None:
        self._certificates = certificates
        self._program = program
        self.masters = [self._make() for _ in range(masters)]
        self.replicas = [[self._make() for _ in range(replicas)] for _ in range(masters)]
        self.ids: dict[RedisServer, str] = {}

    def _make(self) -> RedisServer:
        options = (
            "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
            "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0",
            "--cluster-allow-replica-migration", "no", "--repl-diskless-sync-delay", "0",
        )  # fmt: skip
        if self._certificates is None:
            return RedisServer(*options, program=self._program)
        return TlsServer(self._certificates, *options, "--tls-cluster", "yes", "--tls-replication", "yes")

    @property
    def servers(self) -> list[RedisServer]:
        return self.masters + [replica for of_one in self.replicas for replica in of_one]

    @property
    def url(self) -> str:
        """Names two of the servers: the others are learnt."""
        first, last = self.masters[0], self.masters[-1]
        if not isinstance(first, TlsServer) or not isinstance(last, TlsServer):
            return f"redis+cluster://127.0.0.1:{last.port},127.0.0.1:{first.port}"
        places = f"127.0.0.1:{last.tls_port},127.0.0.1:{first.tls_port}"
        return f"rediss+cluster://{places}?{first.url.partition('?')[2]}"

    def start(self) -> Self:
        for at, server in enumerate(self.masters):
            client = server.start().client()
            share = [SLOTS * part // len(self.masters) for part in (at, at + 1)]
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", share[0], share[1] - 1)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
            self._meet(server)
        for master, replicas in zip(self.masters, self.replicas, strict=True):
            for replica in replicas:
                self._meet(replica.start())
                self._follow(replica, master)
        wait_until(lambda: all(self._is_whole(server) for server in self.servers), "the cluster is whole")
        following = [replica for replicas in self.replicas for replica in replicas]
        wait_until(lambda: all(map(_follows, following)), "the replicas follow")
        return self

    def _follow(self, replica: RedisServer, master: RedisServer) -> None:
        wait_until(lambda: self._knows(replica, master), "the replica knows its master")
        replica.client().execute_command("CLUSTER", "REPLICATE", self.ids[master])

    def _meet(self, server: RedisServer) -> None:
        client = server.client()
        self.ids[server] = client.execute_command("CLUSTER", "MYID").decode()
        first = self.masters[0]
        if server is not first:
            bus = first.options[first.options.index("--cluster-port") + 1]
            port = first.tls_port if isinstance(first, TlsServer) else first.port
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)

    def add(self) -> RedisServer:
        """A further master, without slots."""
        server = self._make()
        self._meet(server.start())
        self.masters.append(server)
        self.replicas.append([])
        wait_until(lambda: all(self._is_whole(one) for one in self.servers), "all know the new server")
        return server

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def _knows(self, server: RedisServer, other: RedisServer) -> bool:
        return self.ids[other] in _text(server.client().execute_command("CLUSTER", "NODES"))

    def _is_whole(self, server: RedisServer) -> bool:
        client = server.client()
        nodes = _text(client.execute_command("CLUSTER", "NODES")).splitlines()
        slots = client.execute_command("CLUSTER", "SLOTS")
        covered = sum(end - start + 1 for start, end, *_ in slots)
        state = _text(client.execute_command("CLUSTER", "INFO"))
        return len(nodes) == len(self.servers) and covered == SLOTS and "cluster_state:ok" in state

    # -- what a test does to it -------------------------------------------------------------------

    def owner(self, slot: int) -> RedisServer:
        """The server that owns a slot, by the first server that answers."""
        for server in self.servers:
            try:
                found = server.client().execute_command("CLUSTER", "SLOTS")
            except redis.RedisError:
                continue
            for start, end, place, *_ in found:
                if start <= slot <= end:
                    return next(one for one in self.servers if one.port == place[1])
        raise AssertionError("no server answers")

    def begin_move(self, slot: int, target: RedisServer) -> RedisServer:
        """Let keys of a slot be on their way to `target`; return the server they leave."""
        source = self.owner(slot)
        target.client().execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        source.client().execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target])
        return source

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Carry over what is stored in a slot."""
        client = source.client()
        while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)

    def end_move(self, slot: int, target: RedisServer) -> None:
        """Tell all masters that `target` owns the slot."""
        told = [target, *(server for server in self.masters if server is not target)]
        for server in told:
            server.client().execute_command("CLUSTER", "SETSLOT", slot, "NODE", self.ids[target])

    def move(self, slots: Iterable[int], target: RedisServer) -> None:
        """Move slots with all that is stored there, if `target` doesn't own them already."""
        for slot in slots:
            if self.owner(slot) is not target:
                source = self.begin_move(slot, target)
                self.move_keys(slot, source, target)
                self.end_move(slot, target)

    def clear(self) -> None:
        """Remove all keys of all servers."""
        for server in self.masters:
            server.client().flushall()


class SentinelServer(RedisServer):
    """A sentinel; `lines` are its configuration."""

    def __init__(self, *lines: str, program: str | None = None) -> None:
        super().__init__(program=program)
        self.lines = lines

    def client(self) -> Any:
        """A plain synchronous client."""
        words = self.lines[0].removeprefix("requirepass ").strip('"')
        password = words if words != self.lines[0] else None
        return redis.Redis(port=self.port, protocol=2, socket_timeout=10, password=password)

    def command(self) -> list[str]:
        path = self.folder / "sentinel.conf"
        if not path.exists():  # later it holds what the sentinel has learnt
            own = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}"]
            path.write_text("\n".join([*own, *self.lines, ""]))
        return [self.program or redis_program(), str(path), "--sentinel"]


class Sentinels:
    """Some sentinels that look after one server and its replicas."""

    name = "mymaster"

    def __init__(
        self,
        master: RedisServer,
        *,
        count: int = 3,
        down_after_ms: int = 1000,
        password: str | None = None,
        own_password: str | None = None,
        program: str | None = None,
    ) -> None:
        self._password, self._own_password = password, own_password
        quorum = count // 2 + 1
        self.processes = [
            SentinelServer(
                *([f'requirepass "{own_password}"'] if own_password else []),
                f"sentinel monitor {self.name} 127.0.0.1 {master.port} {quorum}",
                *([f'sentinel auth-pass {self.name} "{password}"'] if password else []),
                f"sentinel down-after-milliseconds {self.name} {down_after_ms}",
                f"sentinel failover-timeout {self.name} 5000",
                program=program,
            )
            for _ in range(count)
        ]

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.processes)
        user = f":{quote(self._password)}@" if self._password else ""
        query = f"?sentinel_password={quote(self._own_password)}" if self._own_password else ""
        return f"redis+sentinel://{user}{places}/{self.name}/0{query}"

    def start(self) -> Self:
        for sentinel in self.processes:
            sentinel.start()
        wait_until(
            lambda: all(self._sees_all(sentinel) for sentinel in self.processes), "the sentinels know all"
        )
        return self

    def _sees_all(self, sentinel: RedisServer) -> bool:
        found = _pairs(sentinel.client().execute_command("SENTINEL", "MASTER", self.name))
        return found["num-slaves"] == "1" and int(found["num-other-sentinels"]) == len(self.processes) - 1

    def master_port(self) -> int:
        """Where the first sentinel that answers says the master is."""
        for sentinel in self.processes:
            try:
                reply = sentinel.client().execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
            except redis.RedisError:
                continue
            return int(reply[1])
        raise AssertionError("no sentinel answers")

    def stop(self) -> None:
        for sentinel in self.processes:
            sentinel.stop()


def replicate(replica: RedisServer, master: RedisServer) -> None:
    """Make one server the replica of another, and wait until it follows."""
    replica.client().replicaof("127.0.0.1", master.port)
    wait_until(lambda: _follows(replica), "the replica follows")


def _follows(replica: RedisServer) -> bool:
    return bool(replica.client().info("replication").get("master_link_status") == "up")


def _pairs(reply: Any) -> dict[str, str]:
    texts = [part.decode() for part in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _text(reply: bytes) -> str:
    return reply.decode()
