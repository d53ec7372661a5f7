"""A model's answers die by any name that it was asked by or has answered by; answers may be of a union."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from pydantic import BaseModel

from stoker.core import ChatMessage, GenerationRequest, GenerationResponse, ResponseCache, UsageError
from tests.managers import make_config
from tests.servers import RedisServer
from tests.streams import Model as Streaming
from tests.streams import collect

MESSAGES = [ChatMessage("user", "Hello")]
ASKED, ANSWERED = "gpt-4o", "gpt-4o-2024-08-06"


class Model(str, enum.Enum):  # noqa: UP042  what many have; as text it is `Model.GPT`
    GPT = "gpt-4o"


class Named(enum.StrEnum):
    GPT = "gpt-4o"


class Plain(enum.Enum):
    GPT = "gpt-4o"


class Request(BaseModel):
    messages: list[Any]
    model: Model | Named | Plain | str


@pytest.mark.parametrize("model", [Model.GPT, Named.GPT, Plain.GPT, "gpt-4o"])
@pytest.mark.parametrize("by", ["gpt-4o", Model.GPT])
async def test_a_model_that_is_a_member_of_an_enum_is_known_by_its_value(
    redis_server: RedisServer, prefix: str, model: Any, by: Any
) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        request = Request.model_construct(messages=[], model=model)
        await cache.cache_response(request, GenerationResponse("old"))
        metadata = await cache.get_metadata(request)
        assert metadata is not None
        assert (metadata.model, type(metadata.model)) == ("gpt-4o", str)
        await cache.invalidate_model(by)
        assert await cache.get_cached_response(request) is None


@pytest.mark.parametrize("name", [ASKED, ANSWERED])
@pytest.mark.parametrize("way", ["stored", "generated", "streamed"])
async def test_answers_die_by_the_model_that_was_asked_and_by_the_one_that_answered(
    redis_server: RedisServer, prefix: str, name: str, way: str
) -> None:
    request = GenerationRequest(MESSAGES, model=ASKED)
    answer = GenerationResponse("old", model=ANSWERED)

    async def generate(_request: Any) -> GenerationResponse:
        return answer

    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        if way == "stored":
            await cache.cache_response(request, answer)
        elif way == "generated":
            await cache.get_or_generate(request, generate)
        else:
            source = Streaming(["old"])
            source.allow(9)
            await collect(cache.get_or_stream(request, source.stream))
        metadata = await cache.get_metadata(request)
        assert metadata is not None
        assert metadata.model == (ASKED if way == "streamed" else ANSWERED)
        await cache.invalidate_model("gpt-4")
        assert await cache.get_cached_response(request) is not None
        await cache.invalidate_model(ASKED if way == "streamed" else name)
        assert await cache.get_cached_response(request) is None


async def test_what_is_no_name_of_a_model_is_refused(redis_server: RedisServer, prefix: str) -> None:
    cache = ResponseCache(make_config(redis_server, prefix))
    for name in (None, "", 1.5):
        with pytest.raises(UsageError, match="a model is named by a text"):
            await cache.invalidate_model(name)  # type: ignore[arg-type]  # pyright: ignore


@pytest.mark.parametrize(
    ("response_type", "response"),
    [
        (dict[str, Any] | list[Any], {"a": 1}),
        (dict[str, Any] | list[Any], [1]),
        (GenerationResponse | None, GenerationResponse("x")),
    ],
)
async def test_answers_may_be_of_a_union(
    redis_server: RedisServer, prefix: str, response_type: Any, response: Any
) -> None:
    cache: ResponseCache[Any] = ResponseCache(make_config(redis_server, prefix), response_type=response_type)
    async with cache:
        assert await cache.cache_response({"q": 1}, response)
        assert await cache.get_cached_response({"q": 1}) == response
        with pytest.raises(UsageError, match=r"this cache is of \w+ \| \w+, and the response is a int"):
            await cache.cache_response({"q": 1}, 5)
