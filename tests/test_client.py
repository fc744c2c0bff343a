"""The client against real sockets: over each way to send, a fault ends in the answer or in an error that says why."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from fault_server import BODY, FAULTS, FaultServer, echo

from fewshot import _background_loop as loop
from fewshot import classify_sentiment
from fewshot.errors import ConfigError, ServiceError
from fewshot.models.endpoint import Endpoint, resolve
from fewshot.models.openai_client import OpenAIClient, client_for
from fewshot.models.wire import http11 as http1
from fewshot.models.wire import retry
from fewshot.models.wire.service_errors import Complaint, may_teach
from fewshot.types import Completion, Message, Request, Usage

KEY = "sk-canary-1234567890"
WAYS = ["direct", "plain", "own blocking client", "own async client"]


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.play()
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.02)
    for name in ("FEWSHOT_OFFLINE", "FEWSHOT_WIRE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def endpoint(server: FaultServer) -> Endpoint:
    return resolve(model="m", base_url=server.base_url, api_key=KEY)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def client(server: FaultServer, way: str, clients: dict[str, OpenAIClient]) -> OpenAIClient:
    """Give the client of this way, which tests share as rows of a run do."""
    if way not in clients:
        clients[way] = make(server, way)
    return clients[way]


@pytest.fixture(scope="module")
def clients() -> dict[str, OpenAIClient]:
    return {}


def make(server: FaultServer, way: str, *, max_retries: int = 2, timeout: float = 5) -> OpenAIClient:
    own = {"own blocking client": openai.OpenAI, "own async client": openai.AsyncOpenAI}.get(way)
    return OpenAIClient(
        endpoint(server),
        client=own(base_url=server.base_url, api_key=KEY) if own else None,
        fast={"direct": True, "plain": False}.get(way),
        max_retries=max_retries,
        timeout=timeout,
    )


def ask(client: OpenAIClient, text: str = "hello", *, seconds: float | None = None) -> Completion:
    deadline = None if seconds is None else time.monotonic() + seconds
    return loop.run(client.complete(Request(model="m", messages=(Message("user", text),)), deadline=deadline))


def failing(client: OpenAIClient, text: str = "hello", *, seconds: float | None = None) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        ask(client, text, seconds=seconds)
    return caught.value


def test_an_answer_comes_with_everything_about_it(client: OpenAIClient, server: FaultServer) -> None:
    answer = ask(client)
    assert answer == Completion(
        text=echo("hello"),
        texts=(echo("hello"),),
        usage=Usage(7, 3, 2),
        model="m",
        request_id=server.requests[0].id,
        fingerprint="fp",
        id=answer.id,
    )
    assert answer.id.startswith("reply-")
    (seen,) = server.requests
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.body == {
        "model": "m", "messages": [{"role": "user", "content": "hello"}], "temperature": 0.0, "seed": 0, "store": False,
    }  # fmt: skip


def test_a_text_prompt_goes_to_the_older_endpoint(client: OpenAIClient, server: FaultServer) -> None:
    assert loop.run(client.complete(Request(model="m", text="a b", n=2))).texts == (echo("a b"), echo("a b"))
    assert server.requests[0].path == "/v1/completions"


def test_vectors_come_in_the_order_of_the_texts(client: OpenAIClient) -> None:
    assert loop.run(client.embed(["a", "bbb"])) == [[1.0, 1.0], [3.0, 1.0]]


def test_both_wires_send_the_same_headers(server: FaultServer) -> None:
    seen = []
    for way in ("direct", "plain"):
        ask(make(server, way))
        seen.append(server.requests[-1].headers)
    about_the_try = {"connection", "x-stainless-retry-count", "x-stainless-read-timeout", "x-stainless-async"}
    direct, plain = ({k: v for k, v in headers.items() if k not in about_the_try} for headers in seen)
    assert direct == plain


PASSES = [
    "500", "502", "503", "408", "409", "429_s", "429_ms", "429_garbage", "400_retry", "reset_before", "close_before",
    "reset_mid_headers", "reset_after_headers", "truncated", "truncated_chunked", "gzip_corrupt", "huge", "not_http",
    "gzip_bomb", *(fault for fault in BODY if fault != "null_content"),
]  # fmt: skip
EMPTY = ["null_content"]
HARMLESS = ["drop_after", "unsolicited", "early_hints", "gzip", "no_length"]
FINAL = {
    "429_long": (429, "longer than|asks to wait 3.6e"), "429_no_retry": (429, "more slowly"),
    "429_quota": (429, "add credit"), "400": (400, "check model and settings"), "401": (401, "OPENAI_API_KEY"),
    "403": (403, "permissions"), "404_model": (404, "FEWSHOT_MODEL"), "404_path": (404, "base_url"),
    "413": (413, "shorten"), "422": (422, "check model"), "redirect": (307, "was not sent"),
}  # fmt: skip
SILENT = ["hang", "hang_after_headers", "slowloris"]


def test_every_fault_has_its_end() -> None:
    assert sorted([*PASSES, *EMPTY, *HARMLESS, *FINAL, *SILENT, "late_unsolicited"]) == sorted(FAULTS)


@pytest.mark.parametrize("fault", PASSES)
def test_a_fault_that_passes_ends_in_the_answer(server: FaultServer, client: OpenAIClient, fault: str) -> None:
    server.play(fault)
    found = ask(client)
    assert (found.text, found.attempts) == (echo("hello"), len(server.requests))
    assert found.attempts == 2 or fault in ("gzip_bomb", "huge")


@pytest.mark.parametrize("fault", HARMLESS)
def test_after_a_harmless_fault_every_answer_is_still_the_right_one(
    server: FaultServer, client: OpenAIClient, fault: str
) -> None:
    server.play(*[fault, "ok"] * 3)
    for number in range(6):
        assert ask(client, f"{fault} {number}").text == echo(f"{fault} {number}")


def test_a_second_reply_that_comes_late_is_nobodys_answer(
    server: FaultServer, client: OpenAIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1, "_REST", 1.0)
    client = make(server, "direct") if client._wire.__class__ is http1.DirectWire else client
    server.play(*["late_unsolicited", "ok"] * 3)
    for number in range(6):
        assert ask(client, f"row {number}").text == echo(f"row {number}")


@pytest.mark.parametrize("fault", FINAL)
def test_a_final_fault_is_told_at_once(server: FaultServer, way: str, fault: str) -> None:
    client = make(server, way)
    status, advice = FINAL[fault]
    asked = 2 if fault in ("400", "422") else 1  # it names nothing: asked once more, without what is optional
    server.play(*[fault] * asked)
    error = failing(client)
    assert (error.status, error.attempts, len(server.requests)) == (status, asked, asked)
    assert error.request is not None
    assert error.account == (fault in ("429_quota", "401", "403"))
    with pytest.raises(ServiceError, match=advice):
        raise error


@pytest.mark.parametrize("fault", SILENT)
def test_silence_ends_at_the_deadline(server: FaultServer, client: OpenAIClient, fault: str) -> None:
    server.play(fault)
    begun = time.monotonic()
    error = failing(client, seconds=0.3)
    assert time.monotonic() - begun < 2
    assert error.transient
    assert "no answer within" in str(error)
    server.play()
    assert ask(client, "next").text == echo("next")


def test_a_fault_that_stays_is_tried_as_often_as_allowed(server: FaultServer, way: str) -> None:
    server.play(*["503"] * 9)
    error = failing(make(server, way, max_retries=2))
    assert (error.status, error.attempts, len(server.requests)) == (503, 3, 3)
    assert "after 3 requests" in str(error)


@pytest.mark.parametrize("way", ["direct", "plain"])
def test_a_request_on_the_wire_has_all_the_time_that_is_left(way: str) -> None:
    with FaultServer() as slow:
        slow.work = 1.1
        found = ask(make(slow, way, max_retries=5), seconds=2.0)
        assert (found.text, found.attempts, len(slow.requests)) == (echo("hello"), 1, 1)


@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        ({"content-encoding": "br"}, b"\x0b\x02\x80hi\x03", "packed as 'br'"),
        ({"content-encoding": "zstd"}, b"\x28\xb5\x2f\xfd", "packed as 'zstd'"),
        ({"content-type": "text/event-stream"}, b'data: {"choices": []}\n\ndata: [DONE]\n\n', "stream of events"),
    ],
)
def test_what_no_try_can_read_is_paid_once(
    server: FaultServer, way: str, headers: dict[str, str], body: bytes, says: str
) -> None:
    server.play((200, headers, body))
    error = failing(make(server, way))
    assert (error.transient, error.attempts, len(server.requests)) == (False, 1, 1)
    assert says in str(error)


def test_no_retry_comes_earlier_than_asked(server: FaultServer, client: OpenAIClient) -> None:
    server.play("429_s")
    ask(client)
    first, second = server.requests
    assert second.time - first.time >= 0.1


def test_a_wait_longer_than_the_deadline_is_not_begun(server: FaultServer, client: OpenAIClient) -> None:
    server.play("429_long")
    begun = time.monotonic()
    error = failing(client)
    assert time.monotonic() - begun < 2
    assert (error.retry_after, error.transient) == (3600.0, True)


def test_a_server_that_is_not_there_is_named() -> None:
    nowhere = OpenAIClient(Endpoint(model="m", base_url="http://127.0.0.1:9/v1"), max_retries=0)
    error = failing(nowhere)
    assert error.transient
    assert "127.0.0.1:9" in str(error)


def refusal(param: str) -> tuple[int, dict[str, str], bytes]:
    return 400, {}, f'{{"error": {{"message": "Unsupported parameter: \'{param}\' is not supported."}}}}'.encode()


def test_what_a_model_refuses_is_left_out_once_and_for_all(server: FaultServer, way: str) -> None:
    client = make(server, way)
    server.play(refusal("seed"), refusal("temperature"), refusal("store"))
    found = ask(client)
    assert (found.text, found.attempts, found.dropped) == (echo("hello"), 4, ("temperature", "seed", "store"))
    again = ask(client)
    assert (again.attempts, again.dropped) == (1, found.dropped)
    assert client.refused("m", "chat") == {"seed", "temperature", "store"}
    assert set(server.requests[-1].body) == {"model", "messages"}


@pytest.mark.parametrize(("param", "asked"), [("frobnicate", 2), ("messages[0].content", 1)])
def test_a_refusal_that_cannot_be_met_is_an_error(server: FaultServer, way: str, param: str, asked: int) -> None:
    body = json.dumps({"error": {"message": "Invalid request.", "param": param}}).encode()
    server.play(*[(400, {}, body)] * asked)
    error = failing(make(server, way))
    assert (error.status, error.attempts, len(server.requests)) == (400, asked, asked)


def test_what_a_refusal_is_about_decides_whether_it_is_asked_otherwise() -> None:
    cases = [
        (403, "You are not allowed to request logprobs from this model", None, True),
        (403, "Country, region, or territory not supported", "unsupported_country_region_territory", False),
        (403, "Your project lacks the role to use this model", None, False),
        (404, "No endpoints found that support the parameter: seed", None, True),
        (404, "The model `m` does not exist or you do not have access to it.", "model_not_found", False),
        (404, "Not Found", None, False),
        (400, "Invalid request.", None, True),
        (422, "Invalid request.", None, True),
        (429, "Rate limit reached: temperature too high", None, False),
    ]
    told = {(s, words): may_teach(s, Complaint(words, code), ("logprobs", "seed")) for s, words, code, _ in cases}
    assert told == {(status, words): teaches for status, words, _, teaches in cases}


def test_a_context_that_has_less_room_than_was_asked_for_gives_what_it_has(server: FaultServer, way: str) -> None:
    client, asked = make(server, way), Request(model="small", messages=(Message("user", "x"),), max_tokens=512)
    said = "This model's maximum context length is 2048 tokens and your request has {} input tokens ({} > 2048 - {})."
    small = [(400, {}, json.dumps({"message": said.format(n, 512, n)}).encode()) for n in (1900, 2000)]
    server.play(small[0], "ok", "ok", small[1])
    found = [loop.run(client.complete(asked)) for _ in range(4)]
    assert [(one.attempts, one.dropped) for one in found] == [(2, ()), (1, ()), (2, ()), (1, ())]
    sent = [next(value for name, value in seen.body.items() if "max" in name) for seen in server.requests]
    assert sent == [512, 148, 148, 148, 48, 48]
    full = (400, {}, json.dumps({"message": said.format(2044, 48, 2044)}).encode())
    server.play(full, full)
    with pytest.raises(ServiceError, match="the text is too long for m"):
        loop.run(client.complete(asked))
    assert len(server.requests) == 1


def test_what_one_call_suspects_changes_no_other_call(server: FaultServer, way: str) -> None:
    client = make(server, way)
    nothing_named = (400, {}, b'{"error": {"message": "Invalid request."}}')
    server.play(nothing_named, nothing_named)
    assert failing(client).attempts == 2
    assert ask(client).dropped == ()
    server.play("400_retry")
    found = ask(client)
    assert (found.attempts, found.dropped) == (2, ()), "what passes by itself is asked again as it was"


def test_a_schema_goes_to_completions_as_each_service_takes_it(server: FaultServer, client: OpenAIClient) -> None:
    asked = Request(model="older", text="x", schema="{}")
    server.play(refusal("json_schema"))
    assert loop.run(client.complete(asked)).dropped == ()
    assert ("response_format" in server.requests[-1].body, "json_schema" in server.requests[-1].body) == (True, False)
    server.play(refusal("response_format"))
    assert loop.run(client.complete(asked)).dropped == ("response_format",)
    assert not {"response_format", "json_schema"} & server.requests[-1].body.keys()


@pytest.mark.parametrize("fault", ["401", "500", "reset_before", "hang", "invalid_json", "redirect", "gzip_bomb"])
def test_errors_pickle_and_hold_no_key(way: str, fault: str) -> None:
    with FaultServer() as own:  # where no late request of another test can take the fault away
        own.play(fault)
        error = failing(make(own, way, max_retries=0), seconds=0.5)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.status, copy.request) == (str(error), error.status, error.request)
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "canary" not in shown + repr(vars(error))


def test_a_client_does_not_show_its_key(client: OpenAIClient) -> None:
    assert "canary" not in repr(client)


def test_a_redirect_carries_nothing_anywhere(server: FaultServer, client: OpenAIClient) -> None:
    server.play("redirect")
    failing(client)
    assert len(server.requests) == 1


def test_a_kept_connection_is_used_again_and_a_dead_one_costs_no_retry(server: FaultServer) -> None:
    client = make(server, "direct", max_retries=0)
    for _ in range(4):
        ask(client)
        time.sleep(2 * http1._REST)
    used = [seen.connection for seen in server.requests]
    assert used[0] != used[1], "the first two show whether the service gives each reply an id of its own"
    assert used[1] == used[2] == used[3]
    server.play("close_before")
    found = ask(client)
    assert (found.text, found.attempts) == (echo("hello"), 2)


def test_several_dead_connections_cost_one_request_more_and_not_one_each(server: FaultServer) -> None:
    client = make(server, "direct", max_retries=2)

    async def at_once() -> None:
        await asyncio.gather(*(client.complete(Request(model="m", messages=(Message("user", "x"),))) for _ in range(4)))

    loop.run(at_once())
    loop.run(at_once())
    time.sleep(2 * http1._REST)
    server.play(*["close_before"] * 10)
    assert failing(client).attempts == 4


def test_a_fresh_connection_that_breaks_is_a_failure(server: FaultServer) -> None:
    server.play("close_before")
    assert failing(make(server, "direct", max_retries=0)).attempts == 1


def test_a_gate_lets_requests_pass_and_hears_of_each() -> None:
    class Book:
        def __init__(self) -> None:
            self.log: list[object] = []

        async def enter(self, request: Request | None) -> None:
            self.log.append(request and request.model)

        def leave(self, request: Request | None, status: int | None, headers: Mapping[str, str]) -> None:
            self.log.append((status, headers.get("retry-after")))

    book = Book()
    with FaultServer() as server:
        server.play("reset_before", "429_s")
        ask(OpenAIClient(endpoint(server), gate=book))
    assert book.log == ["m", (None, None), "m", (429, "0.1"), "m", (200, None)]


def test_threads_share_a_client_and_get_their_own_answers(server: FaultServer, client: OpenAIClient) -> None:
    texts = [f"row {i}" for i in range(64)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: ask(client, text).text, texts))
    assert answers == [echo(text) for text in texts]


def test_event_loops_that_end_leave_nothing_behind(client: OpenAIClient, way: str) -> None:
    async def rows(run: int) -> list[str]:
        texts = [f"{run}-{i}" for i in range(5)]
        requests = [Request(model="m", messages=(Message("user", text),)) for text in texts]
        return [found.text for found in await asyncio.gather(*map(client.complete, requests))]

    if way == "own async client":
        pytest.skip("an async client of one's own belongs to one loop")
    for run in range(4):
        assert asyncio.run(rows(run)) == [echo(f"{run}-{i}") for i in range(5)]


def test_cancelled_calls_leave_a_usable_client(server: FaultServer, client: OpenAIClient, way: str) -> None:
    async def main() -> str:
        server.play(*["hang"] * 8)
        task = [
            asyncio.create_task(client.complete(Request(model="m", messages=(Message("user", "x"),)))) for _ in range(8)
        ]
        while len(server.requests) < 8:  # noqa: ASYNC110 - the server has a thread of its own
            await asyncio.sleep(0.01)
        for one in task:
            one.cancel()
        ends = await asyncio.gather(*task, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        return (await client.complete(Request(model="m", messages=(Message("user", "y"),)))).text

    if way == "own blocking client":
        pytest.skip("a thread cannot be cancelled; it ends at its own time-out")
    assert asyncio.run(main()) == echo("y")


FORK = """
    import os, sys
    from fewshot.models.wire import http11 as http1
    from fewshot import _background_loop as loop
    from fewshot.models.wire import retry
    from fewshot.models.openai_client import OpenAIClient
    from fewshot.models.endpoint import resolve
    from fewshot.types import Message, Request

    client = OpenAIClient(resolve(model="m", base_url=sys.argv[1]), max_retries=0, fast=sys.argv[2] == "direct")

    def ask(text):
        return loop.run(client.complete(Request(model="m", messages=(Message("user", text),)))).text

    assert ask("warm") == "answer to <warm>"
    children = []
    for child in range(4):
        pid = os.fork()
        if not pid:
            wrong = [i for i in range(25) if ask(f"{child}-{i}") != f"answer to <{child}-{i}>"]
            os._exit(len(wrong))
        children.append(pid)
    assert all(ask(f"parent {i}") == f"answer to <parent {i}>" for i in range(25))
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    print("all right")
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("wire", ["direct", "plain"])
def test_forked_processes_share_no_connection(server: FaultServer, wire: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FORK), server.base_url, wire]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=root, check=False)
    assert done.stdout == "all right\n", done.stderr


def test_offline_refuses_a_client_of_ones_own_too(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    there = endpoint(server)
    monkeypatch.setenv("FEWSHOT_OFFLINE", "1")
    with pytest.raises(ConfigError, match="FEWSHOT_OFFLINE"):
        OpenAIClient(there, client=openai.OpenAI(base_url=server.base_url, api_key=KEY))
    assert server.requests == []


def test_the_same_settings_give_the_same_client(server: FaultServer) -> None:
    assert client_for(endpoint(server)) is client_for(endpoint(server))
    assert client_for(endpoint(server)) is not client_for(endpoint(server), max_retries=1)


class OwnAzure(openai.AzureOpenAI):
    """As a company's own package has one."""


class OwnAsyncAzure(openai.AsyncAzureOpenAI):
    """The same, not blocking."""


async def _token() -> str:
    return "entra-2"


@pytest.mark.parametrize(
    ("kind", "own", "header"),
    [
        (openai.AzureOpenAI, {"api_key": KEY}, ("api-key", KEY)),
        (openai.AzureOpenAI, {"azure_ad_token_provider": lambda: "entra-1"}, ("authorization", "Bearer entra-1")),
        (openai.AsyncAzureOpenAI, {"azure_ad_token_provider": _token}, ("authorization", "Bearer entra-2")),
        (OwnAzure, {"azure_ad_token": "entra-3"}, ("authorization", "Bearer entra-3")),
        (OwnAsyncAzure, {"azure_ad_token_provider": _token}, ("authorization", "Bearer entra-2")),
        pytest.param(
            OwnAzure,
            {"api_key": lambda: KEY},
            ("api-key", KEY),
            marks=pytest.mark.skipif(openai.__version__.startswith("3.3."), reason="openai 3.3 cannot send such a key"),
        ),
    ],
)
@pytest.mark.parametrize("deployment", [None, "dep"])
def test_azures_older_api_is_asked_below_its_deployment_with_whatever_it_is_asked(
    kind: Any, own: dict[str, Any], header: tuple[str, str], deployment: str | None, server: FaultServer
) -> None:
    server.answer = lambda _: "positive"
    client = kind(azure_endpoint=server.base_url[:-3], api_version="2026-01-01", azure_deployment=deployment, **own)
    assert classify_sentiment("Lovely.", client=client, model="m") == "positive"
    seen = server.requests[0]
    assert seen.path == f"/openai/deployments/{deployment or 'm'}/chat/completions?api-version=2026-01-01"
    assert seen.headers[header[0]] == header[1]
    assert not {"api-key", "authorization"} - {header[0]} & seen.headers.keys()
