"""A fast server for benchmarks: answers `positive` to whatever is asked, after a latency, on loopback.

    python stub.py LATENCY_MS      prints its port

Runs in its own process, so that a client's processor time is the client's alone.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys

_numbers = itertools.count()
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_TOP = [{"token": t, "bytes": list(t.encode()), "logprob": p} for t, p in (("positive", -0.1), ("negative", -3.0))]


def _reply(*, scored: bool) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "positive", "refusal": None},
        "finish_reason": "length" if scored else "stop",
        "logprobs": {"content": [_TOP[0] | {"top_logprobs": _TOP}]} if scored else None,
    }
    body = json.dumps(
        {
            "id": "chatcmpl-0000000000",
            "object": "chat.completion",
            "created": 1,
            "model": "stub",
            "choices": [choice],
            "usage": {"prompt_tokens": 150, "completion_tokens": 1, "total_tokens": 151},
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


PLAIN, SCORED = _reply(scored=False), _reply(scored=True)


class Stub(asyncio.Protocol):
    """Answers one request after the other on a connection."""

    latency = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.waiting = b""

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        head, found, rest = self.waiting.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(rest) < int(length[1] if length else 0):
            return
        self.waiting = b""
        reply = SCORED if b'"top_logprobs"' in rest else PLAIN
        asyncio.get_running_loop().call_later(self.latency, self._answer, reply)

    def _answer(self, reply: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(reply.replace(b"0000000000", b"%010d" % next(_numbers)))


async def main(latency_ms: float) -> None:
    """Serve until killed."""
    Stub.latency = latency_ms / 1000
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
