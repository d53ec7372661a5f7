"""What is asked of a model, and what it answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from stoker.core.records import Record


class ChatMessage(msgspec.Struct, omit_defaults=True):
    """One message of a conversation."""

    role: str
    content: str | list[Any] | None
    """A text, or a list of parts (texts, images, …) as the model's interface has them."""
    name: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None


class GenerationRequest(msgspec.Struct, omit_defaults=True):
    """What is asked of a model. What is `None` is left to the model."""

    messages: list[ChatMessage]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    model: str | None = None
    extra: dict[str, Any] = {}  # msgspec makes a new one for each
    """Any further fields, by name: `seed`, `stop`, `tools`, …"""


class GenerationResponse(msgspec.Struct, omit_defaults=True):
    """What a model answered."""

    content: str
    request_id: str = ""
    provider_used: str = ""
    model: str = ""
    processing_time_ms: float = 0.0
    cost_usd: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    extra: dict[str, Any] = {}  # msgspec makes a new one for each
    """Any further fields, by name."""


class ResponseMetadata(Record, frozen=True):
    """What is stored with a response, in the same entry."""

    request_id: str
    provider_used: str
    model: str
    cached_at: datetime
    """When it was stored, in UTC."""
    ttl_seconds: float
    """For how long it was stored, but for the type's jitter."""
