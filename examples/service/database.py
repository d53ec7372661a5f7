"""The service's database: a stand-in that counts what it is asked."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

#: Seconds that a query takes.
QUERY_SECONDS = 0.02


class User(BaseModel):
    """A user, as the service answers with it."""

    id: int
    name: str
    team: str


class UserUpdate(BaseModel):
    """What of a user can be changed."""

    name: str


class Database:
    """Users by id."""

    def __init__(self) -> None:
        self.queries = 0
        self._users = {n: User(id=n, name=f"user {n}", team=f"team {n % 3}") for n in range(1, 10)}

    async def find(self, user_id: int) -> User | None:
        """One user."""
        self.queries += 1
        await asyncio.sleep(QUERY_SECONDS)
        return self._users.get(user_id)

    async def members(self, team: str) -> list[User]:
        """The users of a team."""
        self.queries += 1
        await asyncio.sleep(QUERY_SECONDS)
        return [user for user in self._users.values() if user.team == team]

    async def rename(self, user_id: int, name: str) -> User | None:
        """Change a user's name."""
        await asyncio.sleep(QUERY_SECONDS)
        user = self._users.get(user_id)
        if user is not None:
            user = self._users[user_id] = user.model_copy(update={"name": name})
        return user
