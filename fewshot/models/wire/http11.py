"""The direct wire: HTTP/1.1 over asyncio, with h11 reading and writing and a pool of kept connections.

Why this exists: the official client spends milliseconds of processor time where this spends a tenth of one, its pool
looks at every open connection for every request, and it takes bytes that nobody asked for as the answer to the next
request. Here a connection is kept only when its reply ended exactly where it said and carries an id that this host gave
to no other; every fault closes it. A reply on a kept connection with an id that was seen before is a copy that came
late, and the request goes out again. A host that gives no ids, gives one twice, or sends what nobody asked for gets a
connection for each request from then on. Redirects are not followed; proxies are left to the plain wire.
"""

from __future__ import annotations

import asyncio
import logging
import re
import select
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode, urlsplit

import h11

from fewshot._background_loop import PerLoop
from fewshot.errors import ConfigError, ServiceError
from fewshot.models.deadline import Deadline
from fewshot.models.wire.protocol import (
    MAX_REPLY,
    NO_FILES,
    StaleConnectionError,
    lost,
    official,
    too_long,
    unreachable,
)
from fewshot.models.wire.response import PACKED, Reply

if TYPE_CHECKING:
    import ssl

    import openai

    from fewshot.models.endpoint import Endpoint

__all__ = ["DirectWire"]

_REST = 0.01
"""Seconds that a connection rests after a reply: an unasked-for second one comes on the heels of the first."""
_LONGEST_IDLE = 30.0
"""Seconds that an unused connection is kept: servers and routers drop them silently after a minute or so."""
_HEAD_START = 0.25
"""Seconds after which the next address of a name is tried beside the first (RFC 8305)."""
_REMEMBERED = 20_000
"""Replies of a host whose ids are remembered."""
_LARGE = 64 * 2**10
_END = h11.EndOfMessage()
_ID = re.compile(rb'"id"\s*:\s*"([^"\\]+)"')

_log = logging.getLogger("fewshot")

_Head = Callable[[str, int], h11.Request]
"""Gives a request without its body, for a target and the bytes of the body."""


class DirectWire:
    """Sends over connections of its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.base_url or "")
        self._endpoint = endpoint
        self._secure = parts.scheme == "https"
        self._address = (parts.hostname or "", parts.port or (443 if self._secure else 80))
        self._authority = parts.netloc
        self._history = None if endpoint.local else _History(endpoint.host)
        self._path, self._query = parts.path, f"?{query}" if (query := _query_of(endpoint)) else ""
        self._keeps = True
        self._idle: PerLoop[deque[_Connection]] = PerLoop(deque, _close)
        self._head: _Head | None = None
        self._preparing = threading.Lock()
        self._tls: ssl.SSLContext | None = None

    async def post(self, path: str, body: bytes, *, deadline: Deadline, fresh: bool = False) -> Reply:
        """Send a JSON body to a path below the base URL, over a kept connection when one is fit."""
        idle = await self._idle.get()
        history = self._history
        connection = None if fresh else _fit(idle, 0.0 if history is None else _REST)
        if connection is None:
            connection = await self._connect(deadline)
        reply = await connection.exchange(self._path + path + self._query, body)
        is_copy = history is not None and history.is_copy(reply, connection)
        if connection.fit and self._keeps and (history is None or history.keeps):
            idle.append(connection)
        else:
            connection.abort()
        if is_copy:
            await _close(idle)
            raise StaleConnectionError(f"{self._endpoint.host} sent an answer twice: try again", transient=True)
        return reply

    async def ready(self) -> None:
        """Import openai, which takes about a second, and read the certificates that are trusted; once."""
        if self._head is None:
            await asyncio.to_thread(self._prepare)

    async def aclose(self) -> None:
        """Close the kept connections of the running loop."""
        await self._idle.aclose()

    async def _connect(self, deadline: Deadline) -> _Connection:
        """Find the host, connect and agree on TLS, all of it by the deadline."""
        await self.ready()
        limit = deadline.left
        loop, host = asyncio.get_running_loop(), self._endpoint.host
        staggered: Any = {"happy_eyeballs_delay": _HEAD_START, "interleave": 1}  # uvloop has neither
        try:
            _, connection = await deadline.keep(
                loop.create_connection(
                    lambda: _Connection(host, cast("_Head", self._head), self._history),
                    *self._address,
                    ssl=self._tls,
                    **(staggered if isinstance(loop, asyncio.BaseEventLoop) else {}),
                )
            )
        except TimeoutError:
            failed = lost(f"no connection to {host} within {limit:.3g} s: is the server up, and base_url right?")
        except OSError as error:
            failed = unreachable(host, error)
            if failed.code == NO_FILES:  # those that rest would take the place of what is written
                self._keeps = False
                await self.aclose()
        else:
            return connection
        raise failed

    def _prepare(self) -> None:
        """Take headers and trust from the official client, so that nothing differs on the wire; once."""
        with self._preparing:
            if self._head is None:
                headers = _Hidden([*self._own_headers(), ("Accept-Encoding", "identity")])
                own = {name.lower() for name, _ in headers}
                if wrong := own & {"content-length", "transfer-encoding", "connection"}:
                    raise ConfigError(f"OPENAI_CUSTOM_HEADERS sets {min(wrong)}, which each request sets: leave it out")
                if "host" not in own:
                    headers.insert(0, ("Host", self._authority))

                @lru_cache(maxsize=512)  # h11 looks at every header anew
                def head(target: str, length: int) -> h11.Request:
                    every = _Hidden([*headers, ("Content-Length", str(length))])
                    return h11.Request(method="POST", target=target, headers=every)

                self._head = head

    def _own_headers(self) -> list[tuple[str, str]]:
        if self._endpoint.local:  # what the embedded model needs is known without openai
            return [("Authorization", f"Bearer {self._endpoint.api_key}"), ("Content-Type", "application/json")]
        return self._taken_from(official(self._endpoint, proxied=False))

    def _taken_from(self, client: openai.AsyncOpenAI) -> list[tuple[str, str]]:
        named = {**client.default_headers, **client.auth_headers}
        if self._secure:
            import httpx2

            self._tls = httpx2.create_ssl_context()
        return _Hidden([(name, value) for name, value in named.items() if isinstance(value, str)])


class _History:
    """What a host sent so far, as far as it tells whether a reply on a kept connection can be believed."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._seen: dict[bytes, None] = {}
        self._first = 0
        self._condemned = False

    @property
    def keeps(self) -> bool:
        """Whether connections are kept: two replies on new ones had ids, and no id came twice."""
        return self._first > 1 and not self._condemned

    def is_copy(self, reply: Reply, connection: _Connection) -> bool:
        """Tell whether a reply may be another request's, which the first one on a connection never is."""
        found = _ID.search(reply.body)
        ids = [b"header " + reply.headers.get("x-request-id", "").encode(), b"body " + (found[1] if found else b"")]
        ids = [each for each in ids if not each.endswith(b" ")]
        if not ids:
            connection.fit = False
        if any(each in self._seen for each in ids) or (not ids and reply.status < 300):
            self._condemned = True
        self._first += connection.served == 1 and bool(ids)
        self._seen.update(dict.fromkeys(ids))
        while len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return self._condemned and connection.served > 1

    def condemn(self) -> None:
        """The host sent what nobody asked for, so that nothing on a kept connection is certain."""
        if not self._condemned:
            _log.warning("fewshot: %s sends replies that nobody asked for: one request a connection now", self._host)
        self._condemned = True


def _query_of(endpoint: Endpoint) -> str:
    return "&".join(filter(None, (urlsplit(endpoint.base_url or "").query, urlencode(endpoint.query))))


class _Hidden(list[tuple[str, str]]):
    """Headers with a key among them: not for tracebacks."""

    def __repr__(self) -> str:
        return "[...]"


async def _close(idle: deque[_Connection]) -> None:
    while idle:
        idle.pop().abort()


def _fit(idle: deque[_Connection], rest: float) -> _Connection | None:
    """Give the kept connection that has rested longest, if it is still as it was left."""
    now = time.monotonic()
    while idle and now - idle[0].since >= rest:
        connection = idle.popleft()
        if now - connection.since < _LONGEST_IDLE and connection.is_untouched():
            return connection
        asyncio.get_running_loop().call_later(_REST, connection.abort)  # what waits there is read first, and judged
    return None


class _Connection(asyncio.Protocol):
    """One connection: one request at a time, and nothing that was not asked for."""

    def __init__(self, host: str, head: _Head, history: _History | None) -> None:
        self.fit = False
        """May serve another request."""
        self.since = 0.0
        """When its last reply ended, by `time.monotonic()`."""
        self._host = host
        self._head = head
        self._history = history
        self._http = h11.Connection(h11.CLIENT)
        self._body = bytearray()
        self._waiting: asyncio.Future[Reply] | None = None
        self.served = 0
        """Replies that came."""
        self._large = False
        self._heard = self._unread = False

    # -- what the wire asks -----------------------------------------------------------------------------------------

    async def exchange(self, target: str, body: bytes) -> Reply:
        """Send a request and give its reply.

        Raises:
            StaleConnectionError: the connection had served before, and broke before a byte of the reply came.
            ServiceError: no reply came.
        """
        self.fit = self._heard = False
        self._body.clear()
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            self._send(target, body)
            reply = await self._waiting
        except BaseException:
            self.abort()
            raise
        finally:
            self._waiting = None
        if not self.fit:
            self.abort()
        self.served += 1
        self.since = time.monotonic()
        return reply

    def is_untouched(self) -> bool:
        """Tell whether the connection is open and silent since its last reply."""
        return self.fit and not self._transport.is_closing() and not self._has_come()

    def abort(self) -> None:
        """Close at once."""
        self.fit = False
        self._transport.abort()

    def _send(self, target: str, body: bytes) -> None:
        self._large = len(body) > _LARGE
        parts = (
            self._http.send(self._head(target, len(body))),
            self._http.send(h11.Data(data=body)),
            self._http.send(_END),
        )
        self._transport.write(b"".join(part for part in parts if part))

    # -- what the transport tells -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # by duck: that of uvloop has other ancestors
        self._has_come = _looks_at(transport.get_extra_info("socket").fileno())

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:  # an answer to nothing
            self._condemn()
            return
        if not self._heard:
            self._unread = self._transport.get_write_buffer_size() > 0
        self._heard = True
        self._read(data)

    def eof_received(self) -> None:
        self._read(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self.fit = False
        self._fail(f"closed the connection before its reply was complete{f' ({exc})' if exc else ''}")

    # -- reading ----------------------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        waiting = self._waiting
        if waiting is None or waiting.done():
            if data:
                self._condemn()  # bytes after the end of the reply
            self.abort()
            return
        try:
            self._http.receive_data(data)
            while (event := self._http.next_event()) is not h11.NEED_DATA:
                if type(event) is h11.Data:
                    self._keep(event.data)
                elif type(event) is h11.Response:
                    self._response = event
                elif type(event) is h11.EndOfMessage:
                    waiting.set_result(self._finished())
                    return
        except h11.RemoteProtocolError as error:
            self._fail(f"broke off its reply ({error})" if self._heard else "closed the connection without a reply")
        except ServiceError as error:
            waiting.set_exception(error)

    def _condemn(self) -> None:
        if self._history is not None:
            self._history.condemn()
        self.abort()

    def _keep(self, data: bytes | bytearray) -> None:
        self._body += data
        if len(self._body) > MAX_REPLY:
            raise too_long()

    def _finished(self) -> Reply:
        """Give the reply; the connection is fit for another only if it ends here and nothing follows."""
        response = self._response
        heads = reversed(response.headers.raw_items())
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in heads}
        after, closed = self._http.trailing_data
        if after:
            self._condemn()
        # Who answers before the request was read may take the rest of it for another.
        early = self._unread or (self._large and response.status_code >= 400)
        if not early and not after and not closed and self._http.our_state is self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self.fit = True
        return Reply(response.status_code, headers, _unpacked(bytes(self._body), headers.get("content-encoding", "")))

    def _fail(self, what: str) -> None:
        if self._waiting is None or self._waiting.done():
            return
        kind = StaleConnectionError if self.served and not self._heard else ServiceError
        self._waiting.set_exception(kind(f"{self._host} {what}: try again", transient=True))


def _looks_at(descriptor: int) -> Callable[[], object]:
    """Give what tells whether bytes or an end wait in a socket."""
    if not hasattr(select, "poll"):  # Windows
        return lambda: select.select([descriptor], [], [], 0)[0]
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return partial(poll.poll, 0)


def _unpacked(body: bytes, encoding: str) -> bytes:
    """Unpack a body that was packed though we asked for plain bytes; no more of it than a reply may hold."""
    encoding = encoding.strip().lower()
    if encoding not in PACKED:  # of what cannot be unpacked tells who reads it
        return body
    try:
        unpacked = zlib.decompressobj(47).decompress(body, MAX_REPLY + 1)  # 47: gzip or zlib, by its header
    except zlib.error as error:
        raise lost(f"the reply cannot be unpacked ({error})") from None
    if len(unpacked) > MAX_REPLY:
        raise too_long()
    return unpacked
