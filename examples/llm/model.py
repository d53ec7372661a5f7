"""A stand-in for a language model's server: it speaks HTTP, takes its time, and sends a bill."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Seconds between two words of an answer.
WORD_SECONDS = 0.01

#: What a word costs, in dollars.
WORD_COST = 0.0004

_WORDS = (
    "a", "cache", "keeps", "what", "was", "asked", "once", "so", "that", "nobody", "has", "to", "wait", "or",
    "pay", "for", "it", "again",
)  # fmt: skip


class ModelServer(ThreadingHTTPServer):
    """The server; it counts what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls = 0
        self.billed = 0.0
        self.counting = threading.Lock()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"

    def words_for(self, request: dict[str, Any]) -> list[str]:
        """The answer to a request: always the same to the same messages."""
        digest = hashlib.sha256(json.dumps(request["messages"]).encode()).digest()
        return [_WORDS[byte % len(_WORDS)] for byte in digest[: request.get("max_tokens") or 12]]


class _Handler(BaseHTTPRequestHandler):
    """`POST /generate` answers with JSON, or with a line for each word if `stream` is true."""

    protocol_version = "HTTP/1.1"
    server: ModelServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        """Answer a request."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = self.server.words_for(request)
        with self.server.counting:
            self.server.calls += 1
            self.server.billed += len(words) * WORD_COST
        if request.get("stream"):
            self._stream(words)
        else:
            time.sleep(len(words) * WORD_SECONDS)
            self._send({"content": " ".join(words), "cost_usd": len(words) * WORD_COST})

    def _send(self, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, words: list[str]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # whoever asked has left
            for word in words:
                time.sleep(WORD_SECONDS)
                line = f"{word}\n".encode()
                self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  as it is called there
        """Say nothing."""


@contextmanager
def model_server() -> Generator[ModelServer, None, None]:
    """A server that runs for as long as the block."""
    with ModelServer() as server:
        thread = threading.Thread(target=server.serve_forever, name="model", daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
