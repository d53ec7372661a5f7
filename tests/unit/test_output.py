"""What `stoker up` writes of its children."""

from __future__ import annotations

import io
import json

from stoker.worker.output import Output
from stoker.worker.supervisor import State


class Closed(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_json_lines_of_children_go_on_as_they_are() -> None:
    stream = io.StringIO()
    Output(["worker"], stream).line("worker", '{"event": "warmed", "loaded": 3}')

    assert stream.getvalue() == '{"event": "warmed", "loaded": 3}\n'


def test_other_lines_are_wrapped_and_lose_their_secrets() -> None:
    stream = io.StringIO()
    Output(["app"], stream).line("app", "connected to redis://app:s3cret@cache/0")

    line = json.loads(stream.getvalue())
    assert line["component"] == "app"
    assert line["event"] == "connected to redis://app:***@cache/0"


def test_on_a_terminal_each_line_bears_its_name() -> None:
    stream = io.StringIO()
    output = Output(["worker", "beat"], stream, console=True)
    output.line("beat", "due")
    output.line("worker", "done")

    assert stream.getvalue().splitlines() == ["  beat │ due", "worker │ done"]


def test_a_death_is_told_with_the_last_lines_of_a_quiet_child() -> None:
    stream = io.StringIO()
    output = Output(["server"], stream, console=True)
    output.change("server", State.STARTING)
    output.change("server", State.FAILED, how="exit code 1", after=0.1, again_in=0.25, last=["disk full"])

    lines = stream.getvalue().splitlines()
    assert lines[0] == "server │ disk full"
    assert lines[1] == "stoker │ server died (exit code 1) after 0.1 s; it is started again in 0.25 s"


def test_only_a_restarted_child_is_ready_again() -> None:
    stream = io.StringIO()
    output = Output(["beat"], stream, console=True)
    output.change("beat", State.STARTING)
    output.change("beat", State.READY)
    assert stream.getvalue() == ""

    output.change("beat", State.STARTING)
    output.change("beat", State.READY)
    assert "beat is ready again" in stream.getvalue()


def test_the_summary_names_every_part() -> None:
    stream = io.StringIO()
    Output(["worker"], stream, console=True).summary("ready", {"worker": "http://here"}, "Ctrl-C stops")

    text = stream.getvalue()
    assert "ready" in text
    assert "worker  http://here" in text
    assert "Ctrl-C stops" in text


def test_the_summary_for_machines_is_one_line() -> None:
    stream = io.StringIO()
    Output(["event"], stream).summary("ready", {"event": "http://here"}, "Ctrl-C stops")

    line = json.loads(stream.getvalue())
    assert line["event"] == "ready"
    assert line["parts"] == {"event": "http://here"}


def test_a_closed_stream_stops_nothing() -> None:
    Output(["worker"], Closed()).line("worker", "nobody reads this")
