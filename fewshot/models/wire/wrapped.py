"""Whether somebody has put something of their own round the official client or its transport, in this process.

Tracers wrap `chat.completions.create` or `request`, mocks and recorders of HTTP replace a method of the transport. The
direct wire passes by both, so where one is found, requests go through the official client instead: traces are complete
and a mocked test sends nothing. Looked for at every request, as they come and go with a fixture.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewshot.models.endpoint import Endpoint

__all__ = ["arguments", "create_of", "is_wrapped", "mocks_blocking_client", "switched"]

_CLIENT = (
    ("openai.resources.chat.completions", "AsyncCompletions", "create"),
    ("openai.resources.chat.completions", "Completions", "create"),
    ("openai.resources.completions", "AsyncCompletions", "create"),
    ("openai.resources.completions", "Completions", "create"),
    ("openai", "AsyncOpenAI", "request"),
    ("openai", "OpenAI", "request"),
    ("openai", "AsyncOpenAI", "post"),
    ("openai", "OpenAI", "post"),
)
_TRANSPORT = (
    ("httpx2", "AsyncHTTPTransport", "handle_async_request"),
    ("httpx2", "HTTPTransport", "handle_request"),
    ("httpx2", "AsyncClient", "send"),
    ("httpx2", "Client", "send"),
    ("httpcore2", "AsyncConnectionPool", "handle_async_request"),
    ("httpcore2", "ConnectionPool", "handle_request"),
)
_PLACES = _CLIENT + _TRANSPORT
_RAW = {"X-Stainless-Raw-Response": "true"}
"""Asks `create` for the reply as it came; this is all that `with_raw_response` adds, and it works under mocks too."""


def switched() -> tuple[str, bool]:
    """Tell what the choice of a wire depends on and may change at any time: the switch, and what others wrapped."""
    return os.environ.get("FEWSHOT_WIRE", "").strip().lower(), is_wrapped()


def is_wrapped() -> bool:
    """Tell whether a method of the official client or of its transport is not its own."""
    for place in _PLACES:
        there = getattr(sys.modules.get(place[0]), place[1], None)  # what is not imported nobody has wrapped
        if there is not None and getattr(there, place[2]) is not _OWN.get(place) and _replaced(place):
            return True
    return False


def mocks_blocking_client() -> bool:
    """Tell whether only the blocking client is wrapped: its calls are the ones that somebody watches or answers."""
    replaced = [place for place in _CLIENT if _replaced(place)]
    return bool(replaced) and not any(name.startswith("Async") for _, name, _ in replaced)


def create_of(client: Any, path: str) -> Any:
    """Give the method of a client that asks for completions where it, or what it calls, is wrapped; else None."""
    if not path.endswith("/completions"):
        return None
    create = (client.chat if path.endswith("/chat/completions") else client).completions.create
    if _is_own(create, "openai") and not any(map(_replaced, _CLIENT)):
        return None
    return create


def arguments(body: dict[str, Any], timeout: float, endpoint: Endpoint) -> dict[str, Any]:
    """Give the arguments of `create` for a body: what it does not know goes beside, as do headers and query."""
    from openai.types.chat.completion_create_params import CompletionCreateParamsBase as Chat
    from openai.types.completion_create_params import CompletionCreateParamsBase as Text

    known = (Chat if "messages" in body else Text).__annotations__
    beside = {name: value for name, value in body.items() if name not in known}
    named = {name: value for name, value in body.items() if name in known}
    headers, query = {**dict(endpoint.headers), **_RAW}, dict(endpoint.query)
    return named | {"extra_body": beside or None, "extra_headers": headers, "extra_query": query, "timeout": timeout}


def _replaced(place: tuple[str, str, str]) -> bool:
    module, name, method = place
    there = getattr(sys.modules.get(module), name, None)  # what is not imported nobody has wrapped
    if there is None or (function := getattr(there, method)) is _OWN.get(place):
        return False
    if _is_own(function, module.partition(".")[0]):
        _OWN[place] = function
        return False
    return True


def _is_own(function: Any, package: str) -> bool:
    """Tell whether a function is its package's own: a wrapper's, a mock's or a partial's is not.

    Its type is looked at and not its class, as a proxy of wrapt's names that of what it wraps, and gives out its code.
    """
    function = function.__func__ if type(function) is MethodType else function
    return type(function) is FunctionType and function.__code__.co_filename.startswith(_home(package))


def _home(package: str) -> str:
    if package not in _HOMES:
        _HOMES[package] = str(Path(sys.modules[package].__file__ or "").parent)
    return _HOMES[package]


_HOMES: dict[str, str] = {}
_OWN: dict[tuple[str, str, str], Any] = {}
"""Methods that were found to be their package's own, so that the next look is short."""
