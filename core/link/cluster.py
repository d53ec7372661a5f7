"""A link to a Redis Cluster: to the server that holds the invalidation log, and through it to all others.

Towards its users it is the link to the log's server, the *home*: `ready`, `writes`, `connections` and
`on_open` speak of that one, and a cluster whose log can't be reached is down. What names another server's key
goes there, over a connection that is kept in the same way; a server that is away is an error for its own keys
alone.

The map of slots is learnt from any server. One that refuses a command because the slot has MOVED makes the
map be read anew, and only then is the command sent again: so by the time its reply is judged, it is known
which servers there are. A key on its way to another server (ASK) is asked for there at once. A log on its way
is another server's log: the home moves with it, and the log's epoch is looked up there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from stoker.core.background import spawn
from stoker.core.errors import LinkError, ReplyError
from stoker.core.link.calls import SCAN_COUNT, Argument, Command, Handler
from stoker.core.link.connecting import open_transport
from stoker.core.link.joining import JoiningLink
from stoker.core.link.link import Link
from stoker.core.link.nodes import NodeClock, Nodes, identify
from stoker.core.link.routing import SLOTS, Address, key_of, owners_by, redirection, slot_of, slots_by
from stoker.core.link.sent import Parked, Sent
from stoker.core.link.wire import tell
from stoker.core.settings.addresses import Servers

logger = logging.getLogger(__name__)

#: Times a command is sent on before its error is handed over.
MAX_REDIRECTIONS = 8

#: Seconds before a command is sent again whose keys are on the way, times the attempt.
TRY_AGAIN_SECONDS = 0.02

#: Commands that may wait for a new map of slots.
MAX_PARKED = 10_000

#: Seconds between readings of the map while all is well, and while a server is away.
CALM_SECONDS = 15.0
TROUBLED_SECONDS = 0.25

Post = Callable[[Command, Handler], None]


class ClusterLink(JoiningLink):
    """Links to all servers of a cluster, as one.

    Args:
        url: `redis+cluster://…`, as `check_redis_url` returns it.
        log_keys: The log's key, and those that its scripts use with it; all of one slot.
        connect_timeout: Seconds one attempt to connect may take.
        timeout: Seconds without any reply within which callers are told.
    """

    is_cluster = True
    commit_seconds = 120.0

    def __init__(
        self, url: str, log_keys: Sequence[str], *, connect_timeout: float = 0.5, timeout: float = 0.1
    ) -> None:
        super().__init__(url, connect_timeout=connect_timeout, timeout=timeout)
        self._servers = Servers.of(url)
        self._log_keys = frozenset(log_keys)
        self._log_key = log_keys[0]
        self._log_slot = slot_of(self._log_key)
        self._home: Address | None = None
        self._asking: Address | None = None
        """Where the log is on its way to: its commands need leave there."""
        self._owners: list[Address | None] = [None] * SLOTS
        self._owning: frozenset[Address] = frozenset()
        self._nodes = Nodes(
            self._servers, connect_timeout=connect_timeout, timeout=timeout, on_change=self._node_changed
        )
        self._parked: list[Parked] = []
        self._asks: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()
        self._reading = asyncio.Lock()
        self._mapper: asyncio.Task[None] | None = None
        self._turn = 0
        self._clock = NodeClock()
        self._identity: str | None = None

    # -- state ------------------------------------------------------------------------------------

    def _node_changed(self) -> None:
        self._wanted.set()
        self._name_masters()

    def _name_masters(self) -> None:
        found = {self._identity} if self._home in self._owning else set[str | None]()
        found |= {node.identity for address, node in self._nodes.links() if address in self._owning}
        masters = frozenset(name for name in found if name is not None)
        if masters != self.masters:
            self.masters = masters
            self.on_masters()

    # -- life -------------------------------------------------------------------------------------

    async def connect(self) -> bool:
        """Start keeping the connections; wait for the first attempt and say whether it served."""
        if self._mapper is None:
            self._mapper = spawn(self._keep_map(), "stoker-cluster-map")
        return await super().connect()

    async def close(self) -> None:
        """Stop keeping the connections and fail what is under way."""
        tasks = [*self._asks, *([self._mapper] if self._mapper else [])]
        self._mapper = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().close()
        await self._nodes.close()
        self._fail_parked(LinkError("the link was closed"))

    async def _open(self) -> None:
        await self._read_map()
        asking = self._asking
        self._home = asking or self._owners[self._log_slot]
        try:
            await super()._open()
        except BaseException:  # a cancellation, too
            if asking is not None and self._asking == asking:
                self._asking = None  # perhaps the log did not go there after all
            raise

    async def open_another(self) -> tuple[Any, asyncio.Transport]:
        """Open a further connection to the log's server, for what blocks or listens."""
        if self._home is None:
            raise LinkError("no server of the cluster holds the log's slot")
        return await open_transport(self._servers.at(*self._home), self.connect_timeout)

    async def _greet(self) -> None:
        home = self._home
        if home is None or home != (self._asking or self._owners[self._log_slot]):
            raise LinkError("the log has moved to another server")
        self._identity = await identify(self.call_early)
        self._clock.take(await self.call_early("TIME"))
        self._name_masters()
        try:
            await self.call_early("XLEN", self._log_key)
        except ReplyError as error:
            kind, address = redirection(error, home)
            self._asking = address if kind == "ASK" else None
            raise LinkError(f"the log is elsewhere: {error}") from None
        await super()._greet()

    def _drop(self, reason: str) -> None:
        self._wanted.set()
        super()._drop(reason)

    # -- sending ----------------------------------------------------------------------------------

    def post_one(self, command: Command, handler: Handler) -> None:
        """Queue a command for the server that its key belongs to; without one, for the log's."""
        key = key_of(command)
        if key is None or not self.ready:
            self._post_home(command, handler)
        else:
            self._dispatch(Sent(slot_of(key), command, handler, of_log=key in self._log_keys))

    def post_timed(self, name: str, began: float, make: Callable[[int], Command], handler: Handler) -> None:
        """Queue a command that a key's server is to refuse by its own clock if it comes too late for a load.

        Args:
            name: The key.
            began: When the load began, in seconds of `clock.boottime`; or any later moment up to which the
                log is known to have brought nothing that the load didn't know.
            make: Makes the command, of the latest time in unix ms; called for each server that it is sent to.
            handler: Called with the reply.

        Raises:
            LinkError: The server is away; nothing was sent.
        """
        self._dispatch(Sent(slot_of(name), make, handler, began=began))

    async def survey(self) -> object:
        """Ask each server what it owns; the answer differs once a slot has moved or a connection was lost.

        None while keys are on their way from one server to another.

        Raises:
            LinkError: A server can't be asked.
            ReplyError: It refuses.
        """
        await self._read_map()
        found: list[object] = []
        for address in sorted(self._owning):
            link = self if address == self._home else self._nodes.need(address)
            slots = slots_by(await link.call("CLUSTER", "NODES"))
            if "[" in slots:
                return None
            found.append((address, link.connections, slots))
        return found

    async def scan(self, pattern: str, count: int = SCAN_COUNT) -> AsyncGenerator[list[bytes]]:
        """Walk the keys that match, of one server after the other; a key may come twice.

        While slots move, a key may be missed: whoever must see all compares a `survey` before and after.

        Raises:
            LinkError: One of the servers can't be reached.
            ReplyError: It refuses.
        """
        for address in sorted(self._owning):
            scan = super().scan if address == self._home else self._nodes.need(address).scan
            async for names in scan(pattern, count):
                yield names

    async def each(self, *command: Argument) -> list[Any]:
        """Send one command that names no key to each server that owns slots."""
        links = (self if at == self._home else self._nodes.need(at) for at in sorted(self._owning))
        return [await link.call(*command) for link in links]

    def _dispatch(self, sent: Sent) -> None:
        at_home = sent.of_log and self._asking is not None
        address = self._home if at_home else self._owners[sent.slot]
        if address is None:
            self._wanted.set()
            raise LinkError("no server of the cluster owns the slot")

        def answered(reply: Any) -> None:
            if not isinstance(reply, ReplyError) or not self._redirect(sent, reply, address):
                sent.handler(reply)

        if address == self._home:
            self._send_to(self._post_home, self._clock, sent, answered)
        else:
            node = self._nodes.need(address)
            self._send_to(node.post, node.clock, sent, answered)

    def _send_to(
        self, post: Post, clock: NodeClock, sent: Sent, handler: Handler, *, asking: bool = False
    ) -> None:
        command = sent.command
        if callable(command):
            if clock.is_old:
                post(("TIME",), clock.take)
            command = command(clock.at(sent.began + self.commit_seconds))
        if asking:
            post(("ASKING",), _ignore)
        post(command, handler)

    def _dispatch_again(self, sent: Sent) -> None:
        sent.redirections += 1
        try:
            self._dispatch(sent)
        except LinkError as error:
            tell(sent.handler, error)

    def _post_home(self, command: Command, handler: Handler) -> None:
        Link.post(self, command, handler)

    def _post(self, command: Command, handler: Handler) -> None:
        if self._asking is not None and key_of(command) in self._log_keys:
            super()._post(("ASKING",), _ignore)
        super()._post(command, handler)

    # -- redirections -----------------------------------------------------------------------------

    def _redirect(self, sent: Sent, error: ReplyError, refused_by: Address) -> bool:
        """See to a reply that says the key is elsewhere; say whether another reply will come."""
        kind, address = redirection(error, refused_by)
        if self._mapper is None:
            return False  # the link is being closed
        if kind not in {"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"}:
            return False
        if kind != "ASK":
            self._wanted.set()
        loop = asyncio.get_running_loop()
        if address is not None and sent.of_log:
            self._asking = address if kind == "ASK" else None
            loop.call_soon(self._follow_log)
            return False
        if kind == "CLUSTERDOWN" or sent.redirections >= MAX_REDIRECTIONS:
            return False
        if address is None:
            delay = TRY_AGAIN_SECONDS * (sent.redirections + 1)
            loop.call_later(delay, self._dispatch_again, sent)
        elif kind == "ASK":
            task = asyncio.create_task(self._ask(sent, address), name="stoker-cluster-ask")
            self._asks.add(task)
            task.add_done_callback(self._asks.discard)
            task.add_done_callback(sent.end)
        elif len(self._parked) >= MAX_PARKED:
            return False
        else:
            self._parked.append(Parked(sent, refused_by, address))
        return True

    def _follow_log(self) -> None:
        if self._ready:
            self._drop("the log has moved to another server")

    async def _ask(self, sent: Sent, address: Address) -> None:
        """Send a command to where its key is on the way."""
        try:
            if address == self._home:
                self._send_to(self._post_home, self._clock, sent, sent.handler, asking=True)
                return
            node = self._nodes.invite(address)
            await node.connect()
            self._send_to(node.post, node.clock, sent, sent.handler, asking=True)
        except LinkError as error:
            tell(sent.handler, error)

    async def _release_parked(self) -> None:
        async with self._reading:
            moved = {
                sent.slot: hint
                for sent, refused_by, hint in self._parked
                if self._owners[sent.slot] == refused_by
            }
            if moved:  # whoever gave the map had not heard of it
                for slot, hint in moved.items():
                    self._owners[slot] = hint
                self._owning |= set(moved.values())
                await self._nodes.keep({address for address in self._owning if address != self._home})
        parked, self._parked = self._parked, []
        for sent, _, _ in parked:
            self._dispatch_again(sent)

    def _fail_parked(self, error: LinkError) -> None:
        parked, self._parked = self._parked, []
        for sent, _, _ in parked:
            tell(sent.handler, error)

    # -- the map ----------------------------------------------------------------------------------

    async def _keep_map(self) -> None:
        while True:
            troubled = not self.ready or not all(node.ready for _, node in self._nodes.links())
            try:
                async with asyncio.timeout(TROUBLED_SECONDS if troubled else CALM_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                await self._read_map()
                await self._release_parked()
            except LinkError as error:
                self._fail_parked(LinkError(f"no map of the cluster: {error}"))
                await asyncio.sleep(TROUBLED_SECONDS)
            except Exception:  # without a reader of the map, what has moved could not be found for good
                logger.exception("action=cluster_map_error", extra={"action": "cluster_map_error"})
                await asyncio.sleep(TROUBLED_SECONDS)

    async def _read_map(self) -> None:
        """Learn which server owns which slot, and connect to those that are new.

        Raises:
            LinkError: No server of the cluster answers.
        """
        async with self._reading:
            owners = await self._ask_for_map()
            changed, self._owners = owners != self._owners, owners
            self._owning = frozenset(address for address in owners if address is not None)
            if changed:
                for _, node in self._nodes.links():
                    if not node.ready:
                        node.identity = None  # while it was away, another may have taken over, and given on
            if self._asking == owners[self._log_slot]:
                self._asking = None
            home = self._asking or owners[self._log_slot]
            if self._wire is not None and self._home != home:
                self._drop("the log has moved to another server")
            await self._nodes.keep(set(self._owning) - {home} if home else set(self._owning))
            self._name_masters()

    async def _ask_for_map(self) -> list[Address | None]:
        reason, self._turn = "", self._turn + 1
        links: list[tuple[Address, Link]] = [pair for pair in self._nodes.links() if pair[1].ready]
        if self.ready and self._home is not None:
            links.append((self._home, self))
        for at in range(len(links)):
            address, link = links[(at + self._turn) % len(links)]
            try:
                return owners_by(await link.call("CLUSTER", "SLOTS"), address)
            except (LinkError, ReplyError) as error:
                reason = str(error)
        try:
            return await self._nodes.first_map()
        except LinkError as error:
            raise LinkError(f"no server of the cluster answers: {reason or error}") from None


def _ignore(_reply: Any) -> None:
    """The reply to ASKING says nothing."""
