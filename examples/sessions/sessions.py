"""What a web service needs to do with sessions. The cache is where they live: nothing can make one again."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from stoker.core import CacheManager
from stoker.core.errors import StokerError

#: Sign-ins that one user may try in a minute.
MAX_ATTEMPTS = 5

#: Ids that are tried for a session. Two are never the same; a set that fails twice fails for another reason.
MAX_IDS = 2

#: Times that a change is tried anew, where another one came first.
MAX_CHANGES = 3


@dataclass
class Session:
    """Who is signed in, and what is in the cart."""

    user: int
    cart: list[str] = field(default_factory=list[str])


class TooManyAttemptsError(Exception):
    """Somebody tries passwords."""


class NoSessionError(StokerError):
    """No session could be begun: the cache can't keep one now."""


class Sessions:
    """The sessions of all processes that use one server."""

    def __init__(self, cache: CacheManager) -> None:
        self._cache = cache

    async def sign_in(self, user: int) -> str:
        """Begin a session; return its id.

        Raises:
            TooManyAttemptsError: The user has signed in too often within a minute.
            NoSessionError: The cache can't keep a session now; its server is away, or full.
        """
        attempts = await self._cache.increment("session", f"attempts:{user}", ttl=60)
        if attempts is not None and attempts > MAX_ATTEMPTS:
            raise TooManyAttemptsError(f"user {user}")
        for _ in range(MAX_IDS):
            name = secrets.token_urlsafe(16)
            # The tag ends all sessions of the user at once; `if_absent` makes sure that the id is new.
            if await self._cache.set("session", name, Session(user), tags=[f"user:{user}"], if_absent=True):
                return name
        raise NoSessionError("no session can be kept now: is the cache's server there?")

    async def find(self, name: str) -> Session | None:
        """Return a session that has not ended; it lives for another half hour from now."""
        session: Session | None = await self._cache.get("session", name, into=Session)
        if session is not None:
            await self._cache.touch("session", name)
        return session

    async def put_into_cart(self, name: str, product: str) -> bool:
        """Change a session; say whether it was there, and could be."""
        for _ in range(MAX_CHANGES):
            # The token is taken before the session is read: one that ends meanwhile is not brought back.
            token = await self._cache.fill("session", name)
            session = await self.find(name)
            if session is None:
                return False
            session.cart.append(product)
            tags = [f"user:{session.user}"]
            if await self._cache.set("session", name, session, tags=tags, token=token):
                return True
        return False

    async def sign_out(self, name: str) -> None:
        """End one session."""
        await self._cache.delete("session", name)

    async def sign_out_everywhere(self, user: int) -> bool:
        """End all sessions of a user, with one command; say whether every process obeys from now on."""
        return (await self._cache.invalidate_tags(f"user:{user}")).acknowledged
