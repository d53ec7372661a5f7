"""The shop's web service: `python -m uvicorn examples.shop.app:app`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, Field

from examples.shop import loaders
from examples.shop.catalog import Change
from examples.shop.database import Database
from examples.shop.outbox import Outbox
from stoker.core import CacheConfig, CacheManager
from stoker.core.metrics.collectors import ProcessCollector
from stoker.core.settings.config import load_config
from stoker.core.settings.redaction import redact_url

Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
"""A number that the database can look for."""

PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]
"""A page of a list, counted from 1."""


class NewPrice(BaseModel):
    """The body of a price change."""

    price_cents: int = Field(strict=True, ge=1, le=100_000_000)


class Sale(BaseModel):
    """The body of a sale."""

    percent: int = Field(strict=True, ge=1, le=90)


@dataclass
class Shop:
    """What the requests of one process share."""

    database: Database
    cache: CacheManager
    outbox: Outbox
    metrics: CollectorRegistry

    async def read(
        self, cache_type: str, key: str, load: Callable[..., Awaitable[Any]], *arguments: int
    ) -> Response:
        """Answer with a value from the cache, or from the database where the cache has none."""
        reading = await self.cache.read(cache_type, key, load, *arguments)
        headers = {"X-Cache": reading.outcome, "Age": f"{reading.age:.0f}"}
        if reading.value is None:
            return Response(b'{"detail":"not found"}', 404, headers, "application/json")
        return Response(msgspec.json.encode(reading.value), 200, headers, "application/json")

    async def publish(self, change: Change | None) -> dict[str, Any]:
        """Publish a committed change, and tell the client how to recognise its invalidation in the log."""
        if change is None:
            raise HTTPException(404, "not found")
        published = await self.outbox.publish(change)
        return {
            "version": change.version,
            "event_id": change.event_id,
            "products": change.products,
            "published": published,
        }


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    """Open the database and the cache; close them when the service stops."""
    database = Database.from_environment("reader")
    loaders.use(database)
    try:
        async with CacheManager(load_config(CacheConfig).value, process="shop") as cache:
            outbox = Outbox(database, cache)
            metrics = CollectorRegistry()
            metrics.register(ProcessCollector(cache))
            app.state.shop = Shop(database, cache, outbox, metrics)
            publisher = asyncio.create_task(outbox.run(), name="shop-outbox")
            try:
                yield
            finally:
                publisher.cancel()
                await asyncio.gather(publisher, return_exceptions=True)
    finally:
        loaders.use(None)
        database.close()


app = FastAPI(title="Stoker's example shop", lifespan=lifespan)


@app.exception_handler(RequestValidationError)
async def refuse(_request: Request, error: RequestValidationError) -> Response:
    """Say what is wrong with a request, without what was sent: JSON can't carry all of it, such as a NaN."""
    found = [{name: problem[name] for name in ("type", "loc", "msg")} for problem in error.errors()]
    return Response(msgspec.json.encode({"detail": found}), 422, media_type="application/json")


def shop_of(request: Request) -> Shop:
    """The shop that a request came to."""
    shop: Shop = request.app.state.shop
    return shop


@app.get("/products/{product_id}")
async def get_product(request: Request, product_id: Id) -> Response:
    """A product's page."""
    return await shop_of(request).read(
        "product", loaders.product_key(product_id), loaders.load_product, product_id
    )


@app.get("/categories/{category_id}")
async def get_category(request: Request, category_id: Id, page: PageNumber = 1) -> Response:
    """One page of a category."""
    return await shop_of(request).read(
        "category", loaders.category_key(category_id, page), loaders.load_category, category_id, page
    )


@app.put("/products/{product_id}/price")
async def put_price(request: Request, product_id: Id, price: NewPrice) -> dict[str, Any]:
    """Change a price, then let Stoker know."""
    shop = shop_of(request)
    return await shop.publish(await shop.database.change_price(product_id, price.price_cents))


@app.post("/categories/{category_id}/sale")
async def post_sale(request: Request, category_id: Id, body: Sale) -> dict[str, Any]:
    """Lower all prices of a category: one event, by tag."""
    shop = shop_of(request)
    return await shop.publish(await shop.database.sale(category_id, body.percent))


@app.get("/stats")
async def get_stats(request: Request) -> dict[str, Any]:
    """What the cache of this process and the database did so far, and where the invalidation log is."""
    shop = shop_of(request)
    return {
        "loads": shop.database.ledger.totals(),
        "cache": shop.cache.counters.snapshot(),
        "redis": redact_url(shop.cache.config.redis.url),
        "log": shop.cache.keys.log,
    }


@app.get("/metrics")
async def get_metrics(request: Request) -> Response:
    """This process's caches, for Prometheus."""
    return Response(generate_latest(shop_of(request).metrics), media_type=CONTENT_TYPE_LATEST)


@app.get("/healthz")
async def get_health(request: Request, response: Response) -> dict[str, bool]:
    """Whether the shop can sell: its database answers. Without its cache it is slower, no more."""
    shop = shop_of(request)
    answers = await shop.database.answers()
    response.status_code = 200 if answers else 503
    return {"ok": answers, "cache": shop.cache.link.ready}
