"""Which server of a cluster a command goes to."""

from __future__ import annotations

import pytest

from stoker.core.errors import ReplyError
from stoker.core.keys import Keys
from stoker.core.link.calls import Command
from stoker.core.link.routing import key_of, owners_by, redirection, slot_of, slots_by, split


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("123456789", 12739),  # of the specification
        ("foo", 12182),
        (b"foo", 12182),
        ("a{foo}b{bar}", 12182),
        ("a{}foo", 16292),
        ("{foo", 13308),
        ("é", 10180),
    ],
)
def test_slots_are_those_of_the_server(key: str | bytes, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize("key", ["42", "a}b", "{x}", "}", "ключ"])
def test_what_belongs_to_an_entry_is_in_its_slot(key: str) -> None:
    keys = Keys("p", clustered=True)
    slots = {slot_of(name("product", key)) for name in (keys.entry, keys.lease, keys.counter)}
    assert len(slots) == 1
    assert slot_of(keys.log) == slot_of(keys.fence)


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "k"), "k"),
        (("get", b"k"), b"k"),
        (("PING",), None),
        (("SCAN", b"0", "MATCH", "*"), None),
        (("EVALSHA", "digest", 2, "k", "l", "argument"), "k"),
        (("EVAL", "return 1", 0, "argument"), None),
        (("XREAD", "BLOCK", 5, "COUNT", 1, "STREAMS", "k", "0-0"), "k"),
        (("XREADGROUP", "GROUP", "streams", "me", "STREAMS", "k", ">"), "k"),
        (("XINFO", "GROUPS", "k"), "k"),
        (("XGROUP", "CREATE", "k", "group", "0"), "k"),
        (("WAIT", 1, 100), None),
    ],
)
def test_the_key_of_a_command_decides(command: Command, key: str | bytes | None) -> None:
    assert key_of(command) == key


def test_commands_of_many_keys_are_taken_apart_and_their_replies_joined() -> None:
    parts = split(("UNLINK", "a", "b"))
    assert parts is not None
    assert parts[0] == [("UNLINK", "a"), ("UNLINK", "b")]
    assert parts[1]([1, 0]) == 1
    values = split(("MGET", "a", "b"))
    assert values is not None
    assert values[1]([[b"1"], [None]]) == [b"1", None]
    assert split(("UNLINK", "a")) is None
    assert split(("HSET", "a", "b", "c")) is None


def test_maps_and_redirections_name_servers() -> None:
    owners = owners_by(
        [[0, 1, [b"", 7000, b"id"], [b"h", 1, b"replica"]], [2, 2, [b"h2", 7001]]], ("h", 7000)
    )
    assert owners[:4] == [("h", 7000), ("h", 7000), ("h2", 7001), None]
    assert redirection(ReplyError("MOVED 3999 h2:6381"), ("h", 1)) == ("MOVED", ("h2", 6381))
    assert redirection(ReplyError("ASK 3999 :6381"), ("h", 1)) == ("ASK", ("h", 6381))
    assert redirection(ReplyError("ERR MOVED"), ("h", 1)) == ("ERR", None)
    nodes = b"a h:1@2 master - 0 0 1 connected 5-9\nb h:3@4 myself,master - 0 0 2 connected 0-4 [4->-a]\n"
    assert slots_by(nodes) == "0-4 [4->-a]"
