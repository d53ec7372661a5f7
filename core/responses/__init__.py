"""Answers of models, by what was asked of them: responses, streams, and what each call took and cost."""

from stoker.core.responses.ai_cache import AIResponseCache
from stoker.core.responses.models import (
    ChatMessage,
    GenerationRequest,
    GenerationResponse,
    ResponseMetadata,
)
from stoker.core.responses.periods import MetricsOfPeriod, RequestMetric, RequestTotals
from stoker.core.responses.request_keys import request_key
from stoker.core.responses.request_metrics import RequestMetrics
from stoker.core.responses.response_cache import ResponseCache

__all__ = [
    "AIResponseCache",
    "ChatMessage",
    "GenerationRequest",
    "GenerationResponse",
    "MetricsOfPeriod",
    "RequestMetric",
    "RequestMetrics",
    "RequestTotals",
    "ResponseCache",
    "ResponseMetadata",
    "request_key",
]
