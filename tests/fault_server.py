"""A small OpenAI-compatible server that misbehaves on request: real sockets, its own thread, standard library only.

    with FaultServer() as server:
        server.play("500", "reset_before")      # what happens to the next two requests; after them all is well
        ... base_url=server.base_url ...
        assert len(server.requests) == 3

The right answer to a chat is what was asked: `echo(text)`, so an answer to another question shows. `server.answer`
may be replaced by a function from the request's JSON body to the answer text. Run it alone to try things by hand:
`python tests/fault_server.py 8000 500 ok`.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

RESET, CLOSE, HANG = "reset", "close", "hang"
Piece = bytes | float | str
"""What the server does next: send bytes, sleep for seconds, or end the connection in one of three ways."""


def error(message: str, *, code: str | None = None, param: str | None = None) -> bytes:
    """Give an error body in OpenAI's shape."""
    return json.dumps({"error": {"message": message, "type": "x", "param": param, "code": code}}).encode()


STATUS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "500": (500, {}, error("boom")),
    "502": (502, {"content-type": "text/html"}, b"<html><title>502 Bad Gateway</title></html>"),
    "503": (503, {"retry-after": "0.05"}, error("overloaded")),
    "408": (408, {}, error("slow")),
    "409": (409, {}, error("conflict")),
    "429_s": (429, {"retry-after": "0.1"}, error("rate limit", code="rate_limit_exceeded")),
    "429_ms": (429, {"retry-after-ms": "100", "retry-after": "60"}, error("rate limit")),
    "429_long": (429, {"retry-after": "3600"}, error("rate limit")),
    "429_garbage": (429, {"retry-after": "soon"}, error("rate limit")),
    "429_no_retry": (429, {"x-should-retry": "false"}, error("rate limit")),
    "400_retry": (400, {"x-should-retry": "true"}, error("transient")),
    "429_quota": (429, {}, error("no credit", code="insufficient_quota")),
    "400": (400, {}, error("bad request")),
    "401": (401, {}, error("Incorrect API key provided: {key}", code="invalid_api_key")),
    "403": (403, {}, error("region")),
    "404_model": (404, {}, error("The model does not exist", code="model_not_found")),
    "404_path": (404, {}, b"<h1>nothing here</h1>"),
    "413": (413, {}, error("too large")),
    "422": (422, {}, error("invalid")),
    "redirect": (307, {"location": "{elsewhere}"}, b""),
}

BODY: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "invalid_json": lambda good: json.dumps(good).encode()[:-20],
    "html_200": lambda _: b"<html>please log in</html>",
    "empty_body": lambda _: b"",
    "null_body": lambda _: b"null",
    "error_200": lambda _: error("Provider returned error"),
    "no_choices": lambda good: json.dumps({**good, "choices": []}).encode(),
    "null_choices": lambda good: json.dumps({**good, "choices": None}).encode(),
    "wrong_choices": lambda good: json.dumps({**good, "choices": "nope"}).encode(),
    "null_choice": lambda good: json.dumps({**good, "choices": [None]}).encode(),
    "missing_message": lambda good: json.dumps({**good, "choices": [{"index": 0}]}).encode(),
    "null_content": lambda good: json.dumps(good).replace('"content": "', '"content": null, "was": "').encode(),
    "deep_json": lambda _: b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "second_choices": lambda good: json.dumps(good).encode()[:-1] + b', "choices": [{"message": {"content": "no"}}]}',
    "latin_1": lambda good: json.dumps(good).replace("stop", "\xe9").encode("latin-1"),
}

# fmt: off
TRANSPORT = [
    "reset_before", "close_before", "reset_mid_headers", "hang", "reset_after_headers", "truncated",
    "truncated_chunked", "hang_after_headers", "slowloris", "drop_after", "unsolicited", "late_unsolicited",
    "early_hints", "gzip", "gzip_bomb", "gzip_corrupt", "huge", "no_length", "not_http",
]
# fmt: on
FAULTS = [*STATUS, *BODY, *TRANSPORT]
Fault = tuple[int, dict[str, str], bytes]
"""A reply of one's own: status, headers and body."""


@dataclass
class Seen:
    """One request that arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int
    time: float
    method: str = "POST"
    raw: bytes = b""
    id: str | None = None


def echo(text: str) -> str:
    """Give the right answer to a text."""
    return f"answer to <{text}>"


class FaultServer:
    """Serves on a free loopback port until it is closed."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: list[Seen] = []
        self.connections = self._count = 0
        self.answer: Callable[[dict[str, Any]], str] = lambda body: echo(_question(body))
        self.work = 0.0
        """Seconds that each answer takes."""
        self.twice: Callable[[int], float | None] = lambda _: None
        """From the number of a request to the seconds after which its reply is sent once more; None for never."""
        self.ids: Callable[[int], str | None] = "reply-{}".format
        """From the number of a request to the id of its reply."""
        self.reply: Callable[[dict[str, Any]], Fault | None] = lambda body: None
        """A whole reply to a request's JSON body, or None for the usual one."""
        self.models: tuple[str, ...] = ("m",)
        """The models that it lists."""
        self._script: deque[str | Fault] = deque()
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", port, ssl=tls))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.base_url = f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{self.port}/v1"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def play(self, *faults: str | Fault) -> None:
        """Set what happens to the coming requests: fault names, `"ok"`, or a status with headers and body."""
        unknown = [fault for fault in faults if isinstance(fault, str) and fault not in [*FAULTS, "ok"]]
        assert not unknown, unknown
        self.requests.clear()
        self._script = deque(faults)

    def close(self) -> None:
        """Stop serving and drop every connection."""
        asyncio.run_coroutine_threadsafe(self._shut(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _shut(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while (seen := await _read(reader, number)) is not None:
                self._count += 1
                seen.id = self.ids(self._count)
                self.requests.append(seen)
                await asyncio.sleep(self.work)
                for piece in self._pieces(seen):
                    if isinstance(piece, bytes):
                        writer.write(piece)
                        await writer.drain()
                        if (late := self.twice(self._count)) is not None:
                            self._loop.call_later(late, _write_again, writer, piece)
                    elif isinstance(piece, float):
                        await asyncio.sleep(piece)
                    elif piece == HANG:
                        await reader.read()
                        return
                    else:
                        _end(writer, piece)
                        return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _pieces(self, seen: Seen) -> Iterator[Piece]:
        fault = self._script.popleft() if self._script else self.reply(seen.body) or "ok"
        return self._played(fault, seen, self._good(seen))

    def _played(self, fault: str | Fault, seen: Seen, good: dict[str, Any]) -> Iterator[Piece]:
        if isinstance(fault, tuple) or fault in STATUS:
            status, headers, body = fault if isinstance(fault, tuple) else STATUS[fault]
            key = seen.headers.get("authorization", "").removeprefix("Bearer ")
            elsewhere = f"http://localhost:{self.port}{seen.path}"
            named = {name: value.replace("{elsewhere}", elsewhere) for name, value in headers.items()}
            return iter([http_reply(body.replace(b"{key}", key.encode()), status, {**about(seen.id), **named})])
        if fault in BODY:
            return iter([http_reply(BODY[fault](good), headers=about(seen.id))])
        return transport(fault, json.dumps(good).encode(), about(seen.id))

    def _good(self, seen: Seen) -> dict[str, Any]:
        body = seen.body
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}}
        if seen.path.endswith("/embeddings"):
            data = [{"index": i, "embedding": [float(len(text)), 1.0]} for i, text in enumerate(body["input"])]
            return {"data": data[::-1], "usage": usage}
        if seen.path.endswith("/models"):
            return {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        text = self.answer(body)
        chat = "messages" in body
        answer = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choices = [{"index": i, "finish_reason": "stop", **answer} for i in range(body.get("n", 1))]
        good = {"model": body.get("model"), "choices": choices, "usage": usage, "system_fingerprint": "fp"}
        return {"id": seen.id, **good} if seen.id else good


def _write_again(writer: asyncio.StreamWriter, piece: bytes) -> None:
    if not writer.is_closing():
        writer.write(piece)


async def _read(reader: asyncio.StreamReader, connection: int) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = first.split()
    record = {} if headers.get("content-type", "").startswith("multipart/") else json.loads(body or b"{}")
    return Seen(path, headers, record, connection, time.monotonic(), method, body)


def _question(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"] if "messages" in body else body.get("prompt", ""))


def http_reply(
    body: bytes, status: int = 200, headers: dict[str, str] | None = None, length: int | None = None
) -> bytes:
    named = {"content-type": "application/json", **(headers or {})}
    named["content-length"] = str(len(body) if length is None else length)
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body


def about(reply_id: str | None) -> dict[str, str]:
    """Give the header that names a reply."""
    return {"x-request-id": reply_id} if reply_id else {}


def transport(fault: str, body: bytes, headers: dict[str, str] | None = None) -> Iterator[Piece]:
    good = http_reply(body, headers=headers)
    head = good[: len(good) - len(body)]
    stray = http_reply(body.replace(b"answer", b"STRAY"), headers=headers)
    half = body[: len(body) // 2]
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    packed = {"content-encoding": "gzip", **(headers or {})}
    plays: dict[str, list[Piece]] = {
        "ok": [good],
        "reset_before": [RESET],
        "close_before": [CLOSE],
        "reset_mid_headers": [b"HTTP/1.1 20", 0.01, RESET],
        "hang": [HANG],
        "reset_after_headers": [head, 0.01, RESET],
        "truncated": [head + half, CLOSE],
        "truncated_chunked": [chunked + b"%x\r\n%s\r\n" % (len(half), half), CLOSE],
        "hang_after_headers": [head, HANG],
        "slowloris": [head, *(piece for byte in body for piece in (bytes([byte]), 0.2))],
        "drop_after": [good, CLOSE],
        "unsolicited": [good + stray],
        "late_unsolicited": [good, 0.02, stray],
        "early_hints": [b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + good],
        "no_length": [b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body, CLOSE],
        "not_http": [b"SSH-2.0-OpenSSH_9.9\r\n", CLOSE],
    }
    if fault == "gzip":
        return iter([http_reply(gzip.compress(body), headers=packed)])
    if fault == "gzip_bomb":
        return iter([http_reply(gzip.compress(body[:-1] + b" " * 2**26 + b"}", 1), headers=packed)])
    if fault == "gzip_corrupt":
        return iter([http_reply(b"\x1f\x8b\x08\x00" + body, headers=packed)])
    if fault == "huge":
        return iter([http_reply(body[:-1] + b" " * 34 * 2**20 + b"}")])
    return iter(plays[fault])


def _end(writer: asyncio.StreamWriter, how: str) -> None:
    if how == RESET:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


if __name__ == "__main__":
    with FaultServer(port=int(sys.argv[1])) as served:
        served.play(*sys.argv[2:])
        print(served.base_url, flush=True)
        threading.Event().wait()
