"""How the service asks the model."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import msgspec

from stoker.core.responses import GenerationRequest, GenerationResponse


class ModelClient:
    """Asks the model over HTTP.

    Args:
        client: Connected to the model's server.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._calls = 0

    async def generate(self, request: GenerationRequest) -> GenerationResponse:
        """Have the model answer as a whole."""
        began = time.perf_counter()
        answer = (await self._client.post("/generate", content=msgspec.json.encode(request))).json()
        return GenerationResponse(
            content=answer["content"],
            request_id=self._next_id(),
            provider_used="stand-in",
            model=request.model or "",
            processing_time_ms=(time.perf_counter() - began) * 1000,
            cost_usd=answer["cost_usd"],
        )

    async def stream(self, request: GenerationRequest) -> AsyncIterator[str]:
        """Have the model answer word by word."""
        body = msgspec.json.encode({**msgspec.to_builtins(request), "stream": True})
        async with self._client.stream("POST", "/generate", content=body) as response:
            async for word in response.aiter_lines():
                yield word + " "

    def _next_id(self) -> str:
        self._calls += 1
        return f"req_{self._calls}"
