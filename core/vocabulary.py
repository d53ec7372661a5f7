"""The words that callers may write as names instead of as texts."""

from __future__ import annotations

from enum import StrEnum


class CacheType(StrEnum):
    """The built-in cache types; each is the text of its name, and goes wherever a type's name does."""

    LLM_RESPONSE = "llm_response"
    STT_TRANSCRIPTION = "stt_transcription"
    TTS_SYNTHESIS = "tts_synthesis"
    SESSION = "session"
    DB_QUERY = "db_query"


class CacheBackend(StrEnum):
    """Where entries are kept."""

    MEMORY = "memory"
    """In the process alone."""
    REDIS = "redis"
    """In Redis alone."""
    MULTI_LAYER = "multi_layer"
    """In the process, and in Redis behind it."""
