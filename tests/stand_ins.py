"""What the pages' blocks take for granted: a database, a model, a logger."""

from __future__ import annotations

import logging
from typing import Any

from stoker.core import GenerationRequest, GenerationResponse


class Database:
    """Users and products by id."""

    def __init__(self) -> None:
        self.asked = 0
        self.names: dict[int, str] = {}

    async def fetch_user(self, user_id: str) -> dict[str, str]:
        self.asked += 1
        return {"id": user_id, "name": "John"}

    async def fetch_product(self, product_id: str) -> dict[str, str]:
        self.asked += 1
        return {"id": product_id, "name": "Widget"}

    async def get_user(self, user_id: int, include_details: bool = False) -> dict[str, Any]:
        self.asked += 1
        return {"id": user_id, "name": self.names.get(user_id, "John")}

    async def update_user(self, user_id: int, data: dict[str, Any]) -> None:
        self.names[user_id] = data["name"]


class SearchEngine:
    async def query(self, query: str, limit: int) -> list[str]:
        return [query] * limit


class Model:
    """An API that costs money."""

    def __init__(self) -> None:
        self.calls = 0

    async def generate(self, request: GenerationRequest) -> GenerationResponse:
        self.calls += 1
        return GenerationResponse(
            content="Hi",
            request_id=f"req_{self.calls}",
            provider_used="openai",
            processing_time_ms=1250,
            cost_usd=0.0025,
        )


def stand_ins() -> dict[str, Any]:
    """What there is on one page, by name."""
    return {
        "db": Database(),
        "search_engine": SearchEngine(),
        "api_client": Model(),
        "logger": logging.getLogger("documented"),
    }
