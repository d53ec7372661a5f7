"""What befalls the servers of the freshness runs: each strikes again and again, and says how often it did."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import Protocol

import redis
from tests.clusters import ClusterServers
from tests.servers import RedisServer
from tests.waiting import wait_until

from benchmarks.actors import name_of
from benchmarks.scenarios import Cell
from stoker.core.keys import Keys
from stoker.core.link.routing import slot_of


class Disaster(Protocol):
    """Something that befalls servers."""

    name: str
    count: int

    def strike(self) -> None:
        """Happen once; what it takes to go on has been done when this returns."""

    def close(self) -> None:
        """End what it brought along."""


def disaster_for(
    cell: Cell, servers: RedisServer | ClusterServers, keys: Keys, count: int, chance: random.Random
) -> Disaster | None:
    """What befalls the servers of a cell; on a cluster, slots move at the least."""
    kind = cell.scenario.disaster
    if isinstance(servers, ClusterServers):
        if kind == "restart":
            return Restarts(servers.masters, chance)
        if kind == "failover":
            return ClusterFailovers(servers, chance)
        return Moves(servers, keys, count, chance)
    if kind == "restart":
        return Restarts([servers], chance)
    return Failovers(servers, chance) if kind == "failover" else None


class Restarts:
    """A server loses what it acknowledged since its last snapshot."""

    name = "restarts"

    def __init__(self, servers: list[RedisServer], chance: random.Random) -> None:
        self._servers = servers
        self._chance = chance
        self.count = 0

    def strike(self) -> None:
        """Snapshot, let it acknowledge more, kill it, start it from the snapshot."""
        server = self._chance.choice(self._servers)
        with server.client() as client:
            client.save()
        time.sleep(0.05 + 0.3 * self._chance.random())
        server.kill()
        server.start()
        self.count += 1

    def close(self) -> None:
        """It brought nothing along."""


class Failovers:
    """A replica that lags takes over its dead primary's address."""

    name = "failovers"

    def __init__(self, server: RedisServer, chance: random.Random) -> None:
        self._primary = server
        self._address = server.port
        self._chance = chance
        self._others: list[RedisServer] = []
        self._replica = self._follow()
        self.count = 0

    def _follow(self) -> RedisServer:
        replica = RedisServer("--repl-diskless-sync-delay", "0")
        self._others.append(replica.start())
        with replica.client() as client:
            client.replicaof("127.0.0.1", str(self._address))
            _wait(lambda: client.info("replication").get("master_link_status") == "up")
        return replica

    def strike(self) -> None:
        """Stop the replication, let the primary acknowledge more, kill it, put the replica in its place."""
        self._replica.freeze()
        time.sleep(0.05 + 0.2 * self._chance.random())
        self._primary.kill()
        self._replica.thaw()
        with self._replica.client() as client:
            client.replicaof("NO", "ONE")
            _wait(lambda: bool(client.config_set("port", self._address)))
        self._primary, self._primary.port = self._replica, self._address
        self._replica = self._follow()
        self.count += 1

    def close(self) -> None:
        """End the servers that took part."""
        for server in self._others:
            server.stop()


class ClusterFailovers:
    """A master of a cluster dies, and its replica, which lags, is elected."""

    name = "failovers"

    def __init__(self, cluster: ClusterServers, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self.count = 0

    def strike(self) -> None:
        """Stop the replication, let the master acknowledge more, kill it; it comes back as a replica."""
        cluster = self._cluster
        at = self._chance.randrange(len(cluster.masters))
        master, replica = cluster.masters[at], cluster.replicas[at][0]
        replica.freeze()
        time.sleep(0.05 + 0.2 * self._chance.random())
        master.kill()
        replica.thaw()
        wait_until(lambda: _role(replica) == "master", "the replica is elected")
        master.start()
        wait_until(lambda: _role(master) == "slave", "the old master follows")
        cluster.masters[at], cluster.replicas[at][0] = replica, master
        wait_until(lambda: _linked(master), "the old master is in step")
        self.count += 1

    def close(self) -> None:
        """It brought nothing along."""


class Moves:
    """Slots of a cluster move to other servers, with what is stored there; the log's own among them."""

    name = "moves"

    def __init__(self, cluster: ClusterServers, keys: Keys, count: int, chance: random.Random) -> None:
        self._cluster = cluster
        names = [keys.log, *(keys.entry("item", name_of(key)) for key in range(count))]
        self._slots = [slot_of(name.encode()) for name in names]
        self._chance = chance
        self.count = 0

    def strike(self) -> None:
        """Move the slots of some keys; at times the log's."""
        slots = self._chance.sample(self._slots[1:], 3)
        if self._chance.random() < 0.3:
            slots.append(self._slots[0])
        self._cluster.move(slots, self._chance.choice(self._cluster.masters))
        self.count += len(slots)

    def close(self) -> None:
        """It brought nothing along."""


def _role(server: RedisServer) -> str | None:
    with contextlib.suppress(redis.RedisError), server.client() as client:
        return str(client.info("replication")["role"])
    return None


def _linked(server: RedisServer) -> bool:
    with contextlib.suppress(redis.RedisError), server.client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")
    return False


def _wait(done: Callable[[], bool]) -> None:
    def tried() -> bool:
        with contextlib.suppress(redis.RedisError):
            return done()
        return False

    wait_until(tried, "the replica follows, or takes the primary's port")
