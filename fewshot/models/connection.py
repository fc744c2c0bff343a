"""From settings and environment to a client that is ready to be asked, and what its endpoint can do."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Mapping
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
    resolve,
    route_of,
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

    def asking_with(self, fields: Mapping[str, Any]) -> Connection:
        """Give the same connection with further body parameters, which win over the usual ones."""
        extra = {**dict(self.extra), **fields}
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
    own = (settings.client, settings.extra_body, settings.extra_headers, settings.extra_query, settings.cache or None)
    if own == (None,) * len(own):
        key = settings.api_key if settings.api_key is None else Secret(settings.api_key)
        now = tuple(value and Secret(value) for value in map(os.environ.get, READ))
        named = (settings.reasoning_effort, settings.top_p, settings.service_tier)
        made = _service(settings.model, settings.base_url, key, settings.form, settings.max_retries, named, now)
        if made is not None:
            if not made[1].is_ready:
                await made[1].ready()
            return made[0]
    connection = await _uncached(settings)
    connection = connection.asking_with(_fields(settings))
    if getattr(connection.client, "asks_gate", False) and (ready := getattr(connection.client, "ready", None)):
        await ready()
    if not settings.cache:
        return connection
    client = cached_client(connection.client, connection.endpoint, connection.place)
    return replace(connection, client=client)


@lru_cache(maxsize=128, typed=True)
def _service(
    model: str | None,
    base_url: str | None,
    api_key: Secret | None,
    form: Form | None,
    max_retries: int,
    named: tuple[Any, ...],
    now: tuple[Secret | None, ...],  # noqa: ARG001 - what `resolve` reads of the environment: a part of the key
) -> tuple[Connection, OpenAIClient] | None:
    """Give the connection to a service, made once for the same settings and environment; None for the embedded one."""
    endpoint = resolve(model=model, base_url=base_url, api_key=api_key, form=form)
    if endpoint.local:
        return None
    client = client_for(endpoint, max_retries=max_retries)
    return Connection(client, endpoint).asking_with(_named(named)), client


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
    if settings.client is not None and hasattr(settings.client, "complete"):
        return Connection(settings.client, _endpoint_of(settings))
    if settings.client is not None:
        return _through(settings.client, settings)
    endpoint = resolve(model=settings.model, base_url=settings.base_url, api_key=settings.api_key, form=settings.form)
    if endpoint.local:
        from fewshot.models.local import server as local

        server = await asyncio.to_thread(local.serve, endpoint.model)
        endpoint = replace(endpoint, base_url=server.base_url, api_key=server.api_key, model=server.model)
        status = server.path.stat()
        place = f"gguf:{server.path.name}:{status.st_size}:{status.st_mtime_ns}"
        if server.model != EMBEDDED_MODEL:  # one's own: known by its content, wherever it lies
            place = f"gguf:{await asyncio.to_thread(local.digest_of, server.path, status.st_size, status.st_mtime_ns)}"
        client = client_for(endpoint, max_retries=settings.max_retries, slot=server.slot)
        return Connection(client, endpoint, place)
    endpoint = _addressed(endpoint, settings)
    return Connection(client_for(endpoint, max_retries=settings.max_retries), endpoint)


def _fields(settings: Settings) -> dict[str, Any]:
    """Give the fields of a body that settings add to the usual ones; the caller's own come last, and win."""
    named = _named((settings.reasoning_effort, settings.top_p, settings.service_tier))
    own = {**named, **(settings.extra_body or {})}
    return {name: Json(json.dumps(value)) if isinstance(value, list | dict) else value for name, value in own.items()}


def _named(values: tuple[Any, ...]) -> dict[str, Any]:
    fields = zip(("reasoning_effort", "top_p", "service_tier"), values, strict=True)
    return {name: value for name, value in fields if value is not None}


def _addressed(endpoint: Endpoint, settings: Settings) -> Endpoint:
    """Give an endpoint with the headers and the query that settings add; both decide where a request goes."""
    headers = {name: str(value) for name, value in (settings.extra_headers or {}).items()}
    query = {name: str(value) for name, value in (settings.extra_query or {}).items()}
    if not headers and not query:
        return endpoint
    for name, value in headers.items():
        if not (f"{name}{value}".isascii() and f"{name}{value}".isprintable() and name):
            raise ConfigError(f"the header {name!r} holds characters that no header has (line breaks or non-ASCII)")
    own = {"route": endpoint.route, **headers, **{f"?{name}": value for name, value in query.items()}}
    return replace(endpoint, headers=tuple(headers.items()), query=tuple(query.items()), route=route_of(own))


def _endpoint_of(settings: Settings) -> Endpoint:
    """Give the endpoint of a client with a `complete` method: its own where it knows one, as ours do."""
    known = getattr(settings.client, "endpoint", None)
    if isinstance(known, Endpoint):
        return replace(known, model=settings.model or known.model)
    return Endpoint(model=settings.model or "scripted", base_url=None, form=settings.form or "chat")


def _through(client: Any, settings: Settings) -> Connection:
    """Give a connection through the caller's own openai client; made once for each client."""
    if not all(hasattr(client, name) for name in ("post", "base_url", "api_key")):
        what = f"client= is a {type(client).__name__}, which cannot be asked"
        raise InputError(f"{what}: give an openai.OpenAI or openai.AsyncOpenAI, or what has `complete`", field="client")
    beside = (tuple((settings.extra_headers or {}).items()), str(settings.extra_query))
    wanted = (settings.model, settings.base_url, settings.form, settings.max_retries, beside)
    known = _OWN.setdefault(client, {})
    if wanted not in known:
        if settings.api_key is not None:
            raise ConfigError("a client of your own has its own key: leave api_key out, or leave client out")
        base_url = settings.base_url or str(client.base_url)
        endpoint = resolve(model=settings.model, base_url=base_url, api_key=OWN, form=settings.form)
        endpoint = _addressed(replace(endpoint, route=route_of(_routed_by(client))), settings)
        own = OpenAIClient(endpoint, client=client, max_retries=settings.max_retries)
        known[wanted] = Connection(own, endpoint)
    return known[wanted]


def _routed_by(client: Any) -> dict[str, object]:
    """Give the query and the headers of its own with which an openai client routes its requests."""
    headers = {name.lower(): value for name, value in client.default_headers.items() if isinstance(value, str)}
    usual = ("accept", "content-type", "user-agent", "authorization", "api-key")
    own = {name: value for name, value in headers.items() if name not in usual and not name.startswith("x-stainless-")}
    return own | {f"?{name}": value for name, value in client.default_query.items()}


_OWN: WeakKeyDictionary[Any, dict[object, Connection]] = WeakKeyDictionary()
"""Connections through the caller's own clients, for as long as those live."""
