"""Bad input to the shop: refused with what is wrong, never an error of the shop's own."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.integration.shop.shops import real_shop
from tests.servers import RedisServer

LARGEST = 2**63 - 1
CONFIG = """
types: {product: {ttl: 60s}, category: {ttl: 60s}}
loaders: [examples.shop.loaders]
"""


@pytest.fixture(scope="module")
def shop(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    folder: Path = tmp_path_factory.mktemp("shop")
    with real_shop(redis_server.url, "shop-input", folder, CONFIG) as url:
        yield url


def send(url: str, method: str = "GET", body: str | None = None) -> tuple[int, object]:
    """The status of a reply and its body, which is JSON."""
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/products/{LARGEST}", 404),
        (f"/products/{LARGEST + 1}", 422),
        (f"/products/{'9' * 5000}", 422),
        ("/products/-1", 422),
        ("/products/x", 422),
        (f"/categories/{LARGEST}", 404),
        (f"/categories/{LARGEST + 1}", 422),
        ("/categories/5?page=1", 200),
        ("/categories/5?page=1000000", 404),
        (f"/categories/5?page={LARGEST}", 422),
        ("/categories/5?page=0", 422),
        ("/categories/5?page=-1", 422),
    ],
)
def test_reads(shop: str, path: str, status: int) -> None:
    assert send(f"{shop}{path}")[0] == status


@pytest.mark.parametrize(
    "value", ["NaN", "1e400", "-Infinity", "true", '"100"', "1.5", "0", "null", "9" * 99]
)
def test_prices_and_percents(shop: str, value: str) -> None:
    status, body = send(f"{shop}/products/5/price", "PUT", f'{{"price_cents": {value}}}')
    assert status == 422
    assert "price_cents" in str(body)
    assert send(f"{shop}/categories/5/sale", "POST", f'{{"percent": {value}}}')[0] == 422


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"price_cents": ' + "9" * 5000 + "}", "[" * 50_000])
def test_bodies(shop: str, body: str) -> None:
    assert send(f"{shop}/products/5/price", "PUT", body)[0] in {400, 422}


def test_writes_to_what_cannot_be(shop: str) -> None:
    for number, status in ((LARGEST, 404), (LARGEST + 1, 422), (0, 422)):
        assert send(f"{shop}/products/{number}/price", "PUT", '{"price_cents": 100}')[0] == status
        assert send(f"{shop}/categories/{number}/sale", "POST", '{"percent": 10}')[0] == status
