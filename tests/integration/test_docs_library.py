"""The examples of docs/library.md run, one after the other."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from tests.pages import text_of
from tests.servers import RedisServer


async def test_the_examples_run(own_redis_server: RedisServer) -> None:
    blocks = re.findall(r"```python\n(.*?)```", text_of("library.md"), re.DOTALL)
    assert len(blocks) > 8
    source = "async def page(url):\n" + textwrap.indent("\n".join(blocks), "    ") + "\n    return locals()\n"
    scope: dict[str, Any] = {"__name__": "documented"}
    exec(compile(source, "docs/library.md", "exec"), scope)
    values = await scope["page"](own_redis_server.url)
    assert values["first"]
    assert values["count"] == 1
    assert 0 < values["left"] <= 60
    assert values["found"] == {"7": {"name": "cup"}, "8": {"name": "pot"}}
    assert values["feed"]["etag"] == "v1"
    assert values["user"] == {"id": 5, "team": 7}
    assert values["words"] == ["Once ", "upon ", "a ", "time"]
    assert values["summary"].hits == 1
