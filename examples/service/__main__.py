"""`python -m examples.service`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncGenerator

import httpx
import uvicorn

from examples.running import Report, cache_of, run, settings


@contextlib.asynccontextmanager
async def served(app: str) -> AsyncGenerator[httpx.AsyncClient, None]:
    """A client of a service that runs on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        host, port = listening.getsockname()
        try:
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=10) as client:
                await client.get("/openapi.json")
                yield client
        finally:
            server.should_exit = True
            await serving


async def main(url: str, report: Report) -> None:
    """What a client of the service sees."""
    config = settings(url, "service")
    # As a deployment would say it.
    os.environ |= {"REDIS_URL": url, "STOKER_PREFIX": config.prefix, "STOKER_REDIS__TIMEOUT": "10s"}
    async with cache_of(config), served("examples.service.app:app") as client:
        from examples.service.app import database  # noqa: PLC0415  it reads the environment

        first = (await client.get("/users/4")).json()
        answers = await asyncio.gather(*(client.get("/users/4", params={"trace": n}) for n in range(20)))
        report.tell("requests, queries", f"{len(answers) + 1}, {database.queries}")
        report.show(
            "one query for all who ask for a user",
            holds=database.queries == 1 and all(answer.json() == first for answer in answers),
        )

        await client.get("/teams/team 1")
        await client.get("/teams/team 1", params={"newest_first": True})
        team = (await client.get("/teams/team 1")).json()
        report.show(
            "other parameters are other entries", holds=database.queries == 3 and team[0]["name"] == "user 1"
        )

        await client.get("/users/5")
        await client.put("/users/4", json={"name": "Ann"})
        names = [(await client.get("/users/4")).json()["name"]]
        names += [user["name"] for user in (await client.get("/teams/team 1")).json()]
        report.tell("after a change, alone and in the team", ", ".join(names))
        report.show("no request after a change sees what was before it", holds=names.count("Ann") == 2)

        asked = database.queries
        await client.get("/users/5")
        report.show("what did not change stays", holds=database.queries == asked)

        await look_around(client, report)


async def look_around(client: httpx.AsyncClient, report: Report) -> None:
    """Errors, statistics, and how the service describes itself."""
    missing = await client.get("/users/99")
    report.show("what fails is not cached", holds=missing.status_code == 404)

    stats = (await client.get("/cache/stats")).json()
    report.tell("/cache/stats", f"{stats['hits']} hits, {stats['misses']} misses, {stats['hit_rate']:.0%}")
    described = (await client.get("/openapi.json")).json()["paths"]["/users/{user_id}"]["get"]
    report.show(
        "the service's description is as without a cache",
        holds=[each["name"] for each in described["parameters"]] == ["user_id"],
    )


if __name__ == "__main__":
    sys.exit(run("A FastAPI service: cached endpoints", main))
