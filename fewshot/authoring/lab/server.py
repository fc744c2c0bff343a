"""The lab over HTTP, for one browser on this machine.

It listens on loopback. Every call carries a token that only the printed address holds, behind its `#`, which browsers
do not send. A page of another site can neither learn the token nor get past the checks of Host (against a name that is
made to point here) and Origin.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import inspect
import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from fewshot.authoring.lab.desk import Desk
from fewshot.authoring.lab.workbench import Workbench
from fewshot.errors import FewshotError

__all__ = ["LabServer"]

_LONGEST = 8_000_000
"""Bytes that a call may send."""
_MOST_AT_ONCE = 24
"""Connections: a browser has six."""


class LabServer(ThreadingHTTPServer):
    """Serves a workbench on a loopback port.

    Arguments:
        workbench: what the calls of the editor do.
        desk: what those of the page for labels do, at `/label`; by default there is none.
        port: 0 for any that is free.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, workbench: Workbench, port: int = 0, desk: Desk | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.pages = {"/": _page("page.html")} | ({"/label": _page("label.html")} if desk else {})
        self.calls: dict[str, Callable[..., dict[str, Any]]] = {
            name: getattr(workbench, name) for name in ("open", "look", "run", "compare", "new", "save")
        }
        self.calls["tasks"] = lambda: workbench.tasks() | {"labels": desk is not None}
        if desk:
            self.calls |= {
                f"label/{name}": getattr(desk, name) for name in ("state", "say", "undo", "guess", "figures")
            }
        self._room = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self.token = secrets.token_urlsafe(24)
        self.hosts = frozenset(f"{name}:{self.server_address[1]}" for name in ("127.0.0.1", "localhost"))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, or close it where there are too many."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        return f"http://127.0.0.1:{self.server_address[1]}{'/label' if '/label' in self.pages else '/'}#{self.token}"


class _Handler(BaseHTTPRequestHandler):
    server: LabServer
    protocol_version = "HTTP/1.1"
    server_version = "fewshot-lab"
    sys_version = ""
    timeout = 30
    """Seconds that a request may take to arrive."""

    def do_GET(self) -> None:
        """Give a page."""
        if self._is_foreign():
            return
        if self.path not in self.server.pages:
            self._json(404, {"error": f"there is only {' and '.join(self.server.pages)} here"})
            return
        page = self.server.pages[self.path]
        headers = {"Content-Security-Policy": _policy(page), "Content-Type": "text/html; charset=utf-8"}
        self._send(200, page.encode(), headers)

    def do_POST(self) -> None:
        """Do what is called, and give what came of it as JSON."""
        if self._is_foreign() or self._is_stranger():
            return
        call = self.server.calls.get(self.path.removeprefix("/api/")) if self.path.startswith("/api/") else None
        body = self._body()
        if body is None:
            return
        if call is None:
            self._json(404, {"error": f"there is no {self.path}"})
            return
        try:
            inspect.signature(call).bind(**body)
        except TypeError as error:
            self._json(400, {"error": f"the call is not understood: {error}"})
            return
        try:
            self._json(200, call(**body))
        except FewshotError as error:
            self._json(422, {"error": " ".join(str(error).split())})
        except (TypeError, AttributeError, KeyError, ValueError) as error:  # a value of another kind than is meant
            self._json(400, {"error": f"the call is not understood: {error}"})
        except Exception as error:
            self._json(500, {"error": f"{type(error).__name__}: {error}"})
            raise

    def _is_foreign(self) -> bool:
        """Refuse a request that another site, or a name made to point here, has sent."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        site = self.headers.get("Sec-Fetch-Site", "none")
        if host in self.server.hosts and origin in (None, f"http://{host}") and site in ("none", "same-origin"):
            return False
        self._refuse(403, "this page answers only to itself, under the address that it printed")
        return True

    def _is_stranger(self) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and hmac.compare_digest(token.encode(), self.server.token.encode()):
            return False
        self._refuse(401, "the token is missing or wrong: open the address that was printed")
        return True

    def _body(self) -> dict[str, Any] | None:
        """Read the JSON object that was sent; None when a refusal was given instead."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json":
            self._refuse(415, "send application/json")
        elif not length.isascii() or not length.isdigit():
            self._refuse(411, "say how long the body is")
        elif len(length) > 20 or int(length) > _LONGEST:
            self._refuse(413, f"more than {_LONGEST:,} bytes")
        else:
            try:
                body = json.loads(self.rfile.read(int(length)))
            except (ValueError, RecursionError):
                body = None
            if isinstance(body, dict):
                return body
            self._json(400, {"error": "send a JSON object"})
        return None

    def _refuse(self, status: int, why: str) -> None:
        """Say no, and close: what else was sent is not read."""
        self.close_connection = True
        self._json(status, {"error": why})

    def _json(self, status: int, value: Mapping[str, Any]) -> None:
        text = json.dumps(value, ensure_ascii=False, default=str)
        self._send(status, text.encode("utf-8", "replace"), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        safe = {
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        for name, value in {**safe, **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: what is asked is the author's own."""


def _page(name: str) -> str:
    """Read a page, with the style and script that all share; it holds nothing that is secret."""
    folder = files("fewshot.authoring.lab")
    text = folder.joinpath(name).read_text(encoding="utf-8")
    for shared in ("style.css", "shared.js"):
        text = text.replace(f"/* {shared} */\n", folder.joinpath(shared).read_text(encoding="utf-8"))
    return text


@cache
def _policy(page: str) -> str:
    """Say what a page may do: run its own script and style, call this server, and nothing else."""
    script, style = (_digest(page, tag) for tag in ("script", "style"))
    return (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digest(page: str, tag: str) -> str:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert found is not None  # noqa: S101 - the page is ours
    return "sha256-" + base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
