"""From settings and environment to a client that is ready to be asked, and what its endpoint can do."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from fewshot.errors import ConfigError, InputError
from fewshot.models.cache import cached_client
from fewshot.models.client import Client
from fewshot.models.endpoint import (
    DEFAULT_MODEL,
    EMBEDDED_MODEL,
    OWN,
    READ,
    TIMEOUT,
    Endpoint,
    Secret,
    addressed,
    resolve,
    route_of,
    routed_by,
)
from fewshot.models.facts import ModelFacts, facts_of
from fewshot.models.openai_client import OpenAIClient, client_for
from fewshot.models.scripted import ScriptedClient
from fewshot.settings import Settings
from fewshot.types import Form, Json

__all__ = ["Connection", "connect", "connect_unstarted"]

_LISTED = {"chat": 20, "text": 5}
"""How many log-probabilities the services list at most: OpenAI's documented limits for its two endpoints."""
_LISTED_LOCALLY = 500


_Pairs = tuple[tuple[str, Any], ...]
_Beside = tuple[_Pairs, _Pairs, _Pairs, int]
"""Headers, query and fields of the body beside the usual ones, and how often a request is sent again."""
_NOBODY = ScriptedClient()
STAND_INS: list[Client] = []
"""Clients that answer in place of every other, the last one; `fewshot.testing` puts them there, for a while."""


@dataclass(frozen=True)
class Connection:
    """A client together with the endpoint that it talks to."""

    client: Client
    endpoint: Endpoint
    place: str | None = None
    """What names the endpoint in the cache, where its address does not: the embedded model has another in each run."""

    learnt: ModelFacts | None = None
    """What is known of the model, where that is not what all share."""
    further: Connection | None = None
    """The connection of the task that is asked where this one's abstains."""

    model: str = field(init=False)
    """The model's name, as the endpoint knows it."""
    local: bool = field(init=False)
    """Whether this is the embedded model."""
    form: Form = field(init=False)
    """The form that suits the endpoint."""
    extra: tuple[tuple[str, Any], ...] = field(init=False)
    """Body parameters that the endpoint's models want."""

    def __post_init__(self) -> None:
        for name in ("model", "local", "form", "extra"):
            object.__setattr__(self, name, getattr(self.endpoint, name))

    def deadline(self, timeout: float | None) -> float:
        """Give the `time.monotonic()` value by which a call that begins now is over."""
        return time.monotonic() + (timeout or (math.inf if self.local else TIMEOUT))

    def top_logprobs(self, form: Form | None) -> int | None:
        """How many log-probabilities to ask for; None where the model is known to give none."""
        if self.facts.silent:
            return None
        if self.endpoint.base_url is None:  # the caller's own: it says itself whether it lists any
            listed: int | None = getattr(self.client, "top_logprobs", None)
            return listed
        return _LISTED_LOCALLY if self.local else _LISTED[form or self.form]

    def decides(self, wanted: bool | None) -> bool:
        """Whether to ask the decisions endpoint: when wanted, or by default where it is known to be."""
        known = self.model == DEFAULT_MODEL and self.endpoint.host == "api.openai.com"
        return (known if wanted is None else wanted) and not self.facts.undecided

    def asking_with(self, fields: _Pairs) -> Connection:
        """Give the same connection with further body parameters, which win over the usual ones."""
        extra = dict((*self.extra, *fields))
        return replace(self, endpoint=replace(self.endpoint, extra=tuple(extra.items())))

    def through(self, client: Client) -> Connection:
        """Give the same connection through a client that stands before this one."""
        return replace(self, client=client)

    @cached_property
    def facts(self) -> ModelFacts:
        """What was learnt of this model."""
        return self.learnt or facts_of(self.client, self.endpoint, self.model)


async def connect(settings: Settings) -> Connection:
    """Give a connection for these settings; the embedded model is started when it is meant.

    Raises:
        ConfigError: a key, a model or an extra is missing, or the settings contradict each other.
    """
    if STAND_INS:
        return Connection(STAND_INS[-1], Endpoint(model=settings.model or "scripted", form=settings.form or "chat"))
    connection = await _uncached(settings)
    if not getattr(connection.client, "is_ready", True):  # one of ours, whatever stands before it
        await connection.client.ready()  # type: ignore[attr-defined]
    if not settings.cache:
        return connection
    return connection.through(cached_client(connection.client, connection.endpoint, connection.place))


async def connect_unstarted(settings: Settings) -> Connection | None:
    """Give a connection of which only the names are used, so that no model is started for it.

    Nothing is given for a model file of one's own, which is known by its content.

    Raises:
        ConfigError: as for `connect`.
    """
    if settings.client is None and not STAND_INS:
        endpoint = resolve(
            model=settings.model, base_url=settings.base_url, api_key=settings.api_key, form=settings.form
        )
        if endpoint.local:
            embedded = replace(endpoint, model=EMBEDDED_MODEL)
            return Connection(_NOBODY, embedded) if endpoint.model == "local" else None
    return await connect(settings)


async def _uncached(settings: Settings) -> Connection:
    client, headers, query = settings.client, settings.extra_headers or {}, settings.extra_query or {}
    if hasattr(client, "complete") and not isinstance(client, type):
        return Connection(client, _endpoint_of(settings)).asking_with(_fields(settings))
    beside = (tuple(headers.items()), tuple(query.items()), _fields(settings), settings.max_retries)
    if client is not None:
        return _through(client, settings, beside)
    key = settings.api_key if settings.api_key is None else Secret(settings.api_key)
    now = tuple(value and Secret(value) for value in map(os.environ.get, READ))
    asked = (settings.model, settings.base_url, key, settings.form)
    return _service(asked, beside, now) or await _embedded(settings)


@lru_cache(maxsize=128, typed=True)
def _service(asked: tuple[Any, ...], beside: _Beside, now: tuple[Secret | None, ...]) -> Connection | None:  # noqa: ARG001
    """Give the connection to a service; None where the embedded model is meant.

    Made once for the same settings and what `resolve` reads of the environment, `now`.
    """
    model, base_url, api_key, form = asked
    headers, query, fields, max_retries = beside
    endpoint = resolve(model=model, base_url=base_url, api_key=api_key, form=form)
    if endpoint.local:
        return None
    endpoint = addressed(endpoint, dict(headers), dict(query))
    return Connection(client_for(endpoint, max_retries=max_retries), endpoint).asking_with(fields)


async def _embedded(settings: Settings) -> Connection:
    from fewshot.models.local import server as local

    endpoint = resolve(model=settings.model, form=settings.form)
    server = await asyncio.to_thread(local.serve, endpoint.model)
    endpoint = replace(endpoint, base_url=server.base_url, api_key=server.api_key, model=server.model)
    status = server.path.stat()
    place = f"gguf:{server.path.name}:{status.st_size}:{status.st_mtime_ns}"
    if server.model != EMBEDDED_MODEL:  # one's own: known by its content, wherever it lies
        place = f"gguf:{await asyncio.to_thread(local.digest_of, server.path, status.st_size, status.st_mtime_ns)}"
    client = client_for(endpoint, max_retries=settings.max_retries, slot=server.slot)
    return Connection(client, endpoint, place).asking_with(_fields(settings))


def _fields(settings: Settings) -> _Pairs:
    """Give the fields of a body that settings add to the usual ones; the caller's own come last, and win."""
    named = (
        ("reasoning_effort", settings.reasoning_effort),
        ("top_p", settings.top_p),
        ("service_tier", settings.service_tier),
    )
    own = {**{name: value for name, value in named if value is not None}, **(settings.extra_body or {})}
    return tuple((n, Json(json.dumps(value)) if isinstance(value, list | dict) else value) for n, value in own.items())


def _endpoint_of(settings: Settings) -> Endpoint:
    """Give the endpoint of a client with a `complete` method: its own where it knows one, as ours do."""
    known = getattr(settings.client, "endpoint", None)
    if isinstance(known, Endpoint):
        return replace(known, model=settings.model or known.model)
    return Endpoint(model=settings.model or "scripted", base_url=None, form=settings.form or "chat")


def _through(client: Any, settings: Settings, beside: _Beside) -> Connection:
    """Give a connection through the caller's own openai client; made once for each client."""
    if not all(hasattr(client, name) for name in ("post", "base_url", "api_key")):
        what = f"client= is a {type(client).__name__}, which cannot be asked"
        raise InputError(f"{what}: give an openai.OpenAI or openai.AsyncOpenAI, or what has `complete`", field="client")
    headers, query, fields, max_retries = beside
    wanted = (settings.model, settings.base_url, settings.form, beside)
    known = _OWN.setdefault(client, {})
    if wanted not in known:
        if settings.api_key is not None:
            raise ConfigError("a client of your own has its own key: leave api_key out, or leave client out")
        base_url = settings.base_url or str(client.base_url)
        endpoint = resolve(model=settings.model, base_url=base_url, api_key=OWN, form=settings.form)
        endpoint = addressed(replace(endpoint, route=route_of(routed_by(client))), dict(headers), dict(query))
        own = OpenAIClient(endpoint, client=client, max_retries=max_retries)
        known[wanted] = Connection(own, endpoint).asking_with(fields)
    return known[wanted]


_OWN: WeakKeyDictionary[Any, dict[object, Connection]] = WeakKeyDictionary()
"""Connections through the caller's own clients, for as long as those live."""
