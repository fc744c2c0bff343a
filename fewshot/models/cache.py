"""Answers given again for exactly the same request, and equal requests in flight asked once.

The key is everything that can change the answer (where it is asked, the path, the whole body) and nothing else (no
key, no time-out). Only complete answers are kept: no error, no refusal, nothing cut off.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from fewshot._storage import cache_dir
from fewshot.errors import ServiceError
from fewshot.models.client import Client, ClientWrapper
from fewshot.models.completion_store import Answers, answers_in
from fewshot.models.deadline import Deadline
from fewshot.models.endpoint import Endpoint, route_of
from fewshot.models.wire.decisions import decision_body
from fewshot.models.wire.request import parameters
from fewshot.types import Completion, Request

__all__ = ["CachedClient", "cached_client", "canonical", "default_answers", "is_complete", "key_of", "place_of"]

_FORMAT = 1
_PORTS = {"http": 80, "https": 443}

Flights = dict[str, "asyncio.Future[Completion]"]


class CachedClient(ClientWrapper):
    """Asks another client only for what is not on disk."""

    def __init__(self, client: Client, place: str, endpoint: Endpoint, answers: Answers) -> None:
        """Wrap a client.

        Arguments:
            place: where the client asks, as `place_of` gives it; a part of the key.
            answers: where answers are kept.
        """
        super().__init__(client)
        self._place = place
        self._endpoint = endpoint
        self._answers = answers
        self._flights: WeakKeyDictionary[asyncio.AbstractEventLoop, Flights] = WeakKeyDictionary()

    def before(self, wrap: Callable[[Client], Client]) -> Client:
        """Put another wrapper beneath the cache: what is on disk is not sent."""
        return CachedClient(wrap(self.client), self._place, self._endpoint, self._answers)

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        """Answer a request from disk, from an equal request in flight, or by asking.

        Raises:
            ServiceError: no answer came, after every retry that made sense.
        """
        content = canonical(request, self._endpoint, self._place)
        key = key_of(content)
        flights = self._flights.setdefault(asyncio.get_running_loop(), {})
        while (ahead := flights.get(key)) is not None:
            found = await _follow(ahead, deadline)
            if found is not None:
                return found
        kept = self._answers.get(key, content)
        if kept is not None and is_complete(request, kept):
            return kept
        return await self._lead(request, key, content, flights, deadline)

    async def _lead(
        self, request: Request, key: str, content: str, flights: Flights, deadline: float | None
    ) -> Completion:
        """Ask, and tell all who wait for the same; when nothing comes of it, one of them takes over."""
        flight: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        flights[key] = flight
        try:
            completion = await self.ask(request, deadline)
            flight.set_result(completion)
            if is_complete(request, completion):
                # In a thread: one write in a hundred waits milliseconds for the disk, and would hold up every call.
                await asyncio.to_thread(self._answers.put, key, content, completion)
            return completion
        except ServiceError as error:
            if not error.transient:
                flight.set_exception(copy.copy(error))
                flight.exception()  # looked at here, since perhaps no one follows
            raise
        finally:
            del flights[key]
            flight.cancel()


async def _follow(ahead: asyncio.Future[Completion], deadline: float | None) -> Completion | None:
    """Wait for an equal request; None when nothing came of it, so that this call must ask itself."""
    try:
        await Deadline(math.inf if deadline is None else deadline).keep(asyncio.wait([ahead]))
    except TimeoutError:
        raise ServiceError(
            "an equal request was in flight and not answered in time: ask again later", transient=True
        ) from None
    if ahead.cancelled():
        return None
    if (error := ahead.exception()) is not None:
        raise copy.copy(error)
    return replace(ahead.result(), cached=True, attempts=0)


def cached_client(client: Client, endpoint: Endpoint, place: str | None = None) -> CachedClient:
    """Wrap a client in the user's own cache; the same wrapper for the same client and endpoint.

    Arguments:
        place: what stands for the endpoint in the key, where its address would not do.
    """
    hashable: Any = client
    return _wrapped(hashable, endpoint, place or place_of(endpoint, client), str(cache_dir("answers")))


@lru_cache(maxsize=128)
def _wrapped(client: Client, endpoint: Endpoint, place: str, folder: str) -> CachedClient:
    return CachedClient(client, place, endpoint, answers_in(folder))


def default_answers() -> Answers:
    """Give the answers in the user's own cache folder."""
    return answers_in(str(cache_dir("answers")))


def canonical(request: Request, endpoint: Endpoint, place: str) -> str:
    """Give all that is sent, and where to, as JSON that is the same for the same request."""
    body: dict[str, Any] = {"model": request.model}
    if request.decides:
        path, body["decide"] = "/decisions", json.loads(decision_body(request))
    elif request.text is None:
        path, body["messages"] = "/chat/completions", [[turn.role, turn.content] for turn in request.chat]
        body |= parameters(request, endpoint)
    else:
        path, body["prompt"] = "/completions", request.text
        body |= parameters(request, endpoint)
    return json.dumps({"v": _FORMAT, "at": place, "path": path, "body": body}, sort_keys=True, separators=(",", ":"))


def key_of(content: str) -> str:
    """Give the key of a canonical request: its SHA-256 in hexadecimal."""
    return hashlib.sha256(content.encode()).hexdigest()


def place_of(endpoint: Endpoint, client: object = None) -> str:
    """Name the place that is asked, by all that decides where a request goes, or the kind of client."""
    if endpoint.base_url is None:
        return f"client:{type(client).__module__}.{type(client).__qualname__}"
    parts = urlsplit(endpoint.base_url)
    host, port = (parts.hostname or "").lower(), parts.port
    where = host if port in (None, _PORTS.get(parts.scheme)) else f"{host}:{port}"
    more = route_of({"query": parts.query, "route": endpoint.route}) if parts.query or endpoint.route else ""
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}{more and f' ({more})'}"


def is_complete(request: Request, completion: Completion) -> bool:
    """Tell whether an answer is worth keeping: it ended by itself, or is the one token that was asked to be scored."""
    if len(completion.texts) > 1 and len(completion.texts) < request.n:
        return False
    if completion.finish_reason == "length":  # what was asked for is read from the first tokens
        return bool(request.top_logprobs and completion.tokens)
    return completion.finish_reason == "stop" and bool(completion.text or completion.probabilities)
