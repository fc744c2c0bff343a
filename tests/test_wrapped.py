"""Tracers see every call and mocks of HTTP hold, without a switch."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
import openai
import pytest
from fault_server import FaultServer
from openai.resources.chat.completions import AsyncCompletions, Completions
from openai.types.chat import ChatCompletion

from fewshot import ServiceError, classify_sentiment, summarize
from fewshot.models.wire.transport import PlainWire
from fewshot.models.wire.wrapped import is_wrapped

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "negative"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}


@pytest.fixture(scope="module")
def service() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.answer = lambda _: "positive"
        yield server


@pytest.fixture
def ask(service: FaultServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Give a call of a shipped function that has gone over the direct wire before."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("FEWSHOT_BASE_URL", service.base_url)
    monkeypatch.setenv("FEWSHOT_MODEL", "m")
    service.answer = lambda _: "positive"
    assert classify_sentiment("Lovely.") == "positive"
    assert not is_wrapped()
    service.requests.clear()
    return lambda: classify_sentiment.run("Broken.")


@pytest.mark.parametrize(
    "place", [(AsyncCompletions, "create"), (Completions, "create"), (openai.AsyncOpenAI, "request")]
)
def test_a_tracer_round_a_method_sees_the_call(
    place: tuple[Any, str], ask: Callable[[], Any], service: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    inner = getattr(*place)

    @functools.wraps(inner)
    def traced(*args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs.get("model") or args[1])
        return inner(*args, **kwargs)

    monkeypatch.setattr(*place, traced)
    assert ask().value == "positive"
    assert len(seen) == len(service.requests) > 0
    monkeypatch.undo()


OWN = {"top_p": 0.5, "service_tier": "flex", "extra_body": {"reasoning": {"enabled": False}}}
BESIDE = {"extra_headers": {"X-Route": "eu"}, "extra_query": {"v": "2"}}


@pytest.mark.parametrize("whose", ["ours", "own", "own and blocking"])
@pytest.mark.parametrize("wrap", [None, "wrapt", "functools"])
def test_what_is_sent_is_the_same_through_a_tracer_as_without(
    wrap: str | None, whose: str, service: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watched(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        seen.append(kwargs["model"])
        return wrapped(*args, **kwargs)

    for kind in (AsyncCompletions, Completions) if wrap else ():
        if wrap == "wrapt":  # as the instrumentations of OpenTelemetry do
            wrapt = pytest.importorskip("wrapt", reason="wrapt is not installed")
            monkeypatch.setattr(kind, "create", wrapt.FunctionWrapper(kind.create, watched))
        else:
            monkeypatch.setattr(kind, "create", _watching(kind.create, watched))
    made = {"own": openai.AsyncOpenAI, "own and blocking": openai.OpenAI}.get(whose)
    at = {"client": made(base_url=service.base_url, api_key="sk-own")} if made else {"base_url": service.base_url}
    service.play()
    assert classify_sentiment("Lovely.", model="m", **at, **OWN, **BESIDE) == "positive"
    sent = service.requests[-1]
    assert (sent.path, sent.headers["x-route"]) == ("/v1/chat/completions?v=2", "eu")
    assert {name: sent.body[name] for name in ("top_p", "service_tier", "reasoning", "seed", "temperature")} == {
        "top_p": 0.5, "service_tier": "flex", "reasoning": {"enabled": False}, "seed": 0, "temperature": 0.0,
    }  # fmt: skip
    assert seen == ["m"] * len(service.requests) * bool(wrap)


def _watching(inner: Any, watched: Any) -> Any:
    return functools.wraps(inner)(
        lambda self, *args, **kwargs: watched(functools.partial(inner, self), 0, args, kwargs)
    )


def test_a_tracer_round_a_client_of_ones_own_sees_the_model(service: FaultServer) -> None:
    client = openai.OpenAI(base_url=service.base_url, api_key="sk-own", max_retries=0)
    inner, models = client.chat.completions.create, []

    def traced(*args: Any, **kwargs: Any) -> Any:
        models.append(kwargs["model"])
        return inner(*args, **kwargs)

    client.chat.completions.create = traced  # type: ignore[method-assign]  # as LangSmith's wrap_openai does
    assert classify_sentiment("Lovely.", client=client, model="mine") == "positive"
    assert set(models) == {"mine"}


@pytest.mark.parametrize("kind", [AsyncCompletions, Completions])
def test_a_mock_of_create_answers_and_nothing_is_sent(kind: Any, ask: Callable[[], Any], service: FaultServer) -> None:
    with mock.patch.object(kind, "create", return_value=ChatCompletion.model_validate(ANSWER)) as create:
        assert ask().value == "negative"
    assert create.call_args.kwargs["model"] == "m"
    assert not service.requests
    assert ask().value == "positive"


def test_a_mock_that_gives_no_completion_is_named(ask: Callable[[], Any]) -> None:
    with mock.patch.object(AsyncCompletions, "create", return_value=mock.MagicMock(spec=[])):
        error = ask().error
    assert isinstance(error, ServiceError)
    assert "gave a MagicMock: give an openai ChatCompletion" in str(error)


def test_a_mock_of_the_transport_holds(ask: Callable[[], Any], service: FaultServer) -> None:
    async def handle(_: Any, request: httpx2.Request) -> httpx2.Response:
        assert json.loads(request.content)["model"] == "m"
        return httpx2.Response(200, json=ANSWER, request=request)

    with mock.patch.object(httpx2.AsyncHTTPTransport, "handle_async_request", handle):
        assert ask().value == "negative"
    assert not service.requests


def test_respx_holds(ask: Callable[[], Any], service: FaultServer, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("pytest_httpx2", reason="respx for httpx2 is not installed")
    router = request.getfixturevalue("httpx2_mock")
    route = router.post(f"{service.base_url}/chat/completions").respond(json=ANSWER)
    assert ask().value == "negative"
    assert route.called
    assert not service.requests


def test_a_recorded_call_is_played_again(ask: Callable[[], Any], service: FaultServer, tmp_path: Path) -> None:
    vcr = pytest.importorskip("vcr", reason="vcrpy is not installed")
    with vcr.use_cassette(str(tmp_path / "calls.yaml")):
        assert ask().value == "positive"
    service.requests.clear()
    service.answer = lambda _: "negative"
    with vcr.use_cassette(str(tmp_path / "calls.yaml"), record_mode="none"):
        assert ask().value == "positive"
    assert not service.requests


def test_the_switch_acts_after_a_first_call(ask: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    monkeypatch.setenv("FEWSHOT_WIRE", "plain")
    inner = PlainWire.post

    async def watched(self: PlainWire, path: str, body: bytes, **options: Any) -> Any:
        sent.append(path)
        return await inner(self, path, body, **options)

    monkeypatch.setattr(PlainWire, "post", watched)
    assert ask().value == "positive"
    assert set(sent) == {"/chat/completions"}


def test_texts_are_traced_as_labels_are(
    service: FaultServer, ask: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer = lambda _: "A library opened."
    with mock.patch.object(AsyncCompletions, "create", autospec=True, side_effect=AsyncCompletions.create) as create:
        assert summarize("The town opened a library.") == "A library opened."
    assert create.call_count == len(service.requests) == 1
