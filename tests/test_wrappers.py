"""Every wrapper of a client × all that a client can do: nothing is lost behind one, the limits of a run least."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

from fewshot import Completion, Request, ScriptedClient, ServiceError, load
from fewshot.integrations.otel import TracedClient
from fewshot.models.budget import Budget, BudgetClient
from fewshot.models.cache import CachedClient
from fewshot.models.client import Client, ClientWrapper, gate_at, pass_through
from fewshot.models.completion_store import Answers
from fewshot.models.endpoint import Endpoint
from fewshot.models.openai_client import OpenAIClient
from fewshot.models.pricing import Price
from fewshot.models.rate_limits import Limits
from fewshot.models.request_quota import Allowance
from fewshot.types import Message

ASKED = Request(model="m", messages=(Message("user", "hello"),))
RATES = {"x-ratelimit-limit-requests": "60000", "x-ratelimit-remaining-requests": "59999"}


class Own(ClientWrapper):
    """A wrapper of the user's, by the base."""

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        return await self.ask(request, deadline)


class Forwarding:
    """A wrapper of the user's that knows nothing of the base."""

    def __init__(self, client: Client) -> None:
        self._inner = client

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":
            raise AttributeError(name)
        return getattr(self._inner, name)

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        return await self._inner.complete(request, deadline=deadline)


def wrappers(folder: Path) -> dict[str, Callable[[Any], Any]]:
    here = Endpoint(model="m", base_url="http://127.0.0.1/v1")
    made: dict[str, Callable[[Any], Any]] = {
        "plain": lambda client: client,
        "cached": lambda client: CachedClient(client, "here", here, Answers(folder)),
        "budget": lambda client: BudgetClient(client, Budget(1.0, Price(0.1, 0.1))),
        "allowance": Allowance,
        "traced": lambda client: TracedClient(client, getattr(client, "endpoint", here)),
        "own": Own,
        "forwarding": Forwarding,
    }
    everything = list(made.values())

    def all_of_them(client: Any) -> Any:
        for wrap in everything:
            client = wrap(client)
        return client

    return {**made, "all": all_of_them}


NAMES = list(wrappers(Path()))
each_wrapper = pytest.mark.parametrize("name", NAMES)


class Book:
    """A gate that lets all pass and writes down what it hears."""

    def __init__(self) -> None:
        self.entered: list[Request | None] = []
        self.left: list[tuple[int | None, str | None]] = []

    async def enter(self, request: Request | None) -> None:
        self.entered.append(request)

    def leave(self, request: Request | None, status: int | None, headers: Mapping[str, str]) -> None:
        self.left.append((status, headers.get("x-ratelimit-limit-requests")))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def good(text: str = "hi") -> tuple[int, dict[str, str], bytes]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": text}}
    return 200, RATES, json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()


def client_of(server: FaultServer) -> OpenAIClient:
    return OpenAIClient(Endpoint(model="m", base_url=server.base_url))


@each_wrapper
def test_every_request_passes_the_gate_once_with_the_headers_of_its_reply(
    name: str, server: FaultServer, tmp_path: Path
) -> None:
    client, book = wrappers(tmp_path)[name](client_of(server)), Book()
    server.play("503", good())

    async def row() -> Completion:
        pass_through(book, client.endpoint.host)
        completion: Completion = await client.complete(ASKED)
        assert await client.embed(["ab"]) == [[2.0, 1.0]]
        return completion

    assert asyncio.run(row()).text == "hi"
    assert (book.entered, book.left) == ([ASKED, ASKED, None], [(503, None), (200, "60000"), (200, None)])


@each_wrapper
def test_a_client_that_knows_no_gate_passes_one_too(name: str, tmp_path: Path) -> None:
    refusal = ServiceError("slow down", status=429, transient=True, retry_after=2.0)
    client, book = wrappers(tmp_path)[name](ScriptedClient("hi", refusal)), Book()
    if name in ("plain", "forwarding"):  # what a run puts before such a client
        client = ClientWrapper(client)

    async def row() -> None:
        pass_through(book, "")
        assert (await client.complete(ASKED)).text == "hi"
        with pytest.raises(ServiceError, match="slow down"):
            await client.complete(Request(model="m", text="another"))

    asyncio.run(row())
    assert [status for status, _ in book.left] == [200, 429]
    assert len(book.entered) == 2


@each_wrapper
def test_whatever_the_client_can_do_the_wrapper_can(name: str, server: FaultServer, tmp_path: Path) -> None:
    inner = client_of(server)
    client = wrappers(tmp_path)[name](inner)
    assert client.endpoint == inner.endpoint
    assert client.heard is inner.heard
    assert client.refused("m", "chat") == frozenset()
    assert asyncio.run(client.ready()) is None
    assert copy.copy(client).endpoint is client.endpoint
    with pytest.raises(AttributeError, match="nonsense"):
        client.nonsense  # noqa: B018


@each_wrapper
def test_the_limits_of_a_bulk_run_hear_what_the_service_announces(
    name: str, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str | None] = []
    monkeypatch.setattr(
        Limits, "_listen", lambda self, headers, now: heard.append(headers.get("x-ratelimit-limit-requests"))
    )
    server.play(*[good("positive")] * 3)
    task = load("sentiment", client=wrappers(tmp_path)[name](client_of(server)), scoring=False, form="chat")
    assert [result.value for result in task.map(["a", "b", "c"])] == ["positive"] * 3
    assert heard == ["60000"] * 3


def test_a_gate_is_for_one_host_and_one_event_loop() -> None:
    async def inside(gate: Book) -> tuple[bool, bool]:
        pass_through(gate, "here")
        elsewhere = await asyncio.to_thread(lambda: asyncio.run(seen()))
        return gate_at("here") is gate and gate_at("there") is None, elsewhere

    async def seen() -> bool:
        return gate_at() is None

    assert asyncio.run(inside(Book())) == (True, True)
