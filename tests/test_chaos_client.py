"""The client against the hostile server of the shared material: every fault that it can make, over both wires.

All faults of one wire run at once, so that an answer which slips into another row's place would show.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fewshot.errors import ServiceError
from fewshot.models.endpoint import Endpoint
from fewshot.models.openai_client import OpenAIClient
from fewshot.types import Completion, Message, Request

SERVERS = Path(__file__).resolve().parents[2] / "shared" / "servers"
if not (SERVERS / "chaos.py").exists():
    pytest.skip("the shared fault server is not beside this checkout", allow_module_level=True)

sys.path.insert(0, str(SERVERS))
chaos: Any = importlib.import_module("chaos")
sys.path.remove(str(SERVERS))

SECONDS = 12.0
"""What each call may take."""
KEY = "sk-canary-1234567890"

FINAL = {
    "429_long": 429, "429_no_retry": 429, "429_quota": 429, "401": 401, "401_leaky": 401, "403": 403, "404_model": 404,
    "400_context": 400, "413": 413, "redirect": 307,
}  # fmt: skip
LATER = ("429_none", "429_garbage", "429_negative")
"""Their words say to wait 20 s, more than a call may take here: a wait that stands only in words is kept."""
UNNAMED = {"400_invalid": 400, "422": 422}
"""They name nothing that was sent, so they are asked once more, without all that is optional, which is in vain here.

They come after the others, as one of those may have left its second answer in a connection.
"""
SILENT = ("hang", "hang_after_headers", "slowloris")
ENDS = {
    "refusal": "refusal", "length": "length", "length_empty": "length", "content_filter": "content_filter",
    "tool_calls": "tool_calls", "400_content_filter": "content_filter",
}  # fmt: skip
SPOILT = [name for name, (stage, _) in chaos.FAULTS.items() if stage == "body" and name not in ENDS]
"""What the model says is not what was asked for: for the layers above; the client hands it on as it is."""
HARMLESS = ["slow", "drop_after", "unsolicited", "early_hints", "dup_headers", "gzip", "nan_json", "bad_charset"]
HARMLESS += ["sse_cut", "sse_error"]  # nothing is streamed
HEAVY = ("gzip_bomb", "huge")
"""Making these keeps the server itself busy for a second, so they come after the others."""
RULES = {
    "429_s": {"retry_after": 0.3}, "429_date": {"retry_after": 1}, "429_ms": {"retry_after": 0.2},
    "503": {"retry_after": 0.2}, "slow": {"delay": 0.3}, "huge": {"mb": 1}, "gzip_bomb": {"mb": 33},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What came of one fault, and of three good calls after it."""

    found: Completion | ServiceError
    seconds: float
    after: list[str]


def text(fault: str, number: int = 0) -> str:
    return f"[[answer: {fault}-{number}]] case={fault};" if not number else f"[[answer: {fault}-{number}]]"


async def call(client: OpenAIClient, what: str) -> Completion:
    request = Request(model="chaos-1", messages=(Message("user", what),))
    return await client.complete(request, deadline=time.monotonic() + SECONDS)


async def case(client: OpenAIClient, fault: str) -> Case:
    begun = time.monotonic()
    try:
        found: Completion | ServiceError = await call(client, text(fault))
    except ServiceError as error:
        found = error
    seconds = time.monotonic() - begun
    return Case(found, seconds, [(await call(client, text(fault, number))).text for number in (1, 2, 3)])


@pytest.fixture(scope="module", params=["direct", "plain"])
def cases(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, Case], Any]]:
    rules = [
        {"fault": fault, "text": f"case={fault};", "max_attempt": 9 if fault in UNNAMED else 1, **RULES.get(fault, {})}
        for fault in chaos.FAULTS
    ]

    async def run(base_url: str) -> dict[str, Case]:
        there = Endpoint(model="chaos-1", base_url=base_url, api_key=KEY)
        client = OpenAIClient(there, fast=request.param == "direct")
        light = [fault for fault in chaos.FAULTS if fault not in (*HEAVY, *UNNAMED)]
        found = await asyncio.gather(*(case(client, fault) for fault in light))
        return dict(zip(light, found, strict=True)) | {fault: await case(client, fault) for fault in (*UNNAMED, *HEAVY)}

    with chaos.spawn(seed=7, plan={"rules": rules}) as server:
        yield asyncio.run(run(server.base_url)), server


@pytest.mark.parametrize("fault", list(chaos.FAULTS))
def test_every_fault_ends_in_the_answer_or_the_documented_error(cases: tuple[dict[str, Case], Any], fault: str) -> None:
    outcome = cases[0][fault]
    found = outcome.found
    assert outcome.seconds < SECONDS + 2
    assert outcome.after == [f"{fault}-{number}" for number in (1, 2, 3)]
    if fault in FINAL:
        assert isinstance(found, ServiceError)
        assert (found.status, found.attempts) == (FINAL[fault], 1)
        assert found.account == (fault in ("429_quota", "401", "401_leaky", "403"))
        assert "canary" not in str(found)
    elif fault in UNNAMED:
        assert isinstance(found, ServiceError)
        assert (found.status, found.attempts, found.account) == (UNNAMED[fault], 2, False)
    elif fault in LATER:
        assert isinstance(found, ServiceError)
        assert (found.status, found.attempts, found.retry_after, found.transient) == (429, 1, 20.0, True)
    elif fault in SILENT:
        assert isinstance(found, ServiceError)
        assert found.transient
    else:
        assert isinstance(found, Completion), found
        assert found.dropped == (), "no other call is asked otherwise for what this one met"
        check(fault, found)


def check(fault: str, found: Completion) -> None:
    wanted = f"{fault}-0"
    if fault in ENDS:
        assert found.finish_reason == ENDS[fault]
    elif fault in SPOILT:
        assert found.attempts == 1
        found.text.encode()
    elif fault == "huge":
        assert found.text.startswith(wanted)
    else:
        assert found.text == wanted
        assert found.attempts == (1 if fault in HARMLESS else 2)


def test_the_books_are_clean(cases: tuple[dict[str, Case], Any]) -> None:
    server = cases[1]
    assert server.verify(answered_all=False) == []
    stats = server.stats()
    assert stats["counters"].get("body_bytes_without_authorization", 0) == 0
    assert set(stats["hosts"]) == {f"127.0.0.1:{server.port}"}


@pytest.mark.parametrize("wire", ["direct", "plain"])
def test_what_never_gets_better_ends_by_the_deadline(wire: str) -> None:
    lasting = [name for name, (stage, _) in chaos.FAULTS.items() if stage != "body" and name not in HARMLESS]
    lasting = [name for name in lasting if name not in (*HEAVY, *ENDS)]
    rules = [{"fault": fault, "text": f"case={fault};", **RULES.get(fault, {})} for fault in lasting]

    async def run(base_url: str) -> list[tuple[str, BaseException | Completion]]:
        there = Endpoint(model="chaos-1", base_url=base_url, api_key=KEY)
        client = OpenAIClient(there, fast=wire == "direct", timeout=1.5)
        requests = [Request(model="chaos-1", messages=(Message("user", text(fault)),)) for fault in lasting]
        found = await asyncio.gather(*map(client.complete, requests), return_exceptions=True)
        return list(zip(lasting, found, strict=True))

    with chaos.spawn(seed=7, plan={"rules": rules}) as server:
        begun = time.monotonic()
        ends = asyncio.run(run(server.base_url))
        assert time.monotonic() - begun < 10
        assert [fault for fault, end in ends if not isinstance(end, ServiceError)] == []
        assert server.verify(answered_all=False) == []


@pytest.mark.parametrize("wire", ["direct", "plain"])
@pytest.mark.parametrize("model", ["reasoning", "no-temperature", "no-max-tokens", "old", "no-schema", "no-developer"])
def test_a_model_that_refuses_is_met_half_way(wire: str, model: str) -> None:
    schema = '{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}'
    request = Request(
        model=f"chaos-{model}",
        messages=(Message("developer", "Judge."), Message("user", "I love it")),
        max_tokens=200,
        top_logprobs=5,
        stop=("\n\n",),
        schema=schema,
        extra=(("reasoning_effort", "none"),),
    )
    refused = {
        "reasoning": {"temperature", "max_tokens", "logprobs", "stop"},
        "no-temperature": {"temperature"},
        "no-max-tokens": {"max_tokens"},
        "old": {"response_format", "seed", "reasoning_effort", "store"},
        "no-schema": {"response_format"},
        "no-developer": {"developer"},
    }[model]

    async def run(base_url: str) -> tuple[Completion, Completion]:
        client = OpenAIClient(Endpoint(model="m", base_url=base_url), fast=wire == "direct")
        return await client.complete(request), await client.complete(request)

    with chaos.spawn(seed=7) as server:
        first, second = asyncio.run(run(server.base_url))
        assert (set(first.dropped), first.attempts) == (refused, len(refused) + 1)
        assert (set(second.dropped), second.attempts) == (refused, 1)
        assert first.finish_reason == "stop"
        assert server.verify() == []


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["direct", "plain"])
def test_a_storm_loses_and_mixes_up_nothing(wire: str) -> None:
    rows = [f"[[answer: row-{i}]]" for i in range(300)]

    async def run(base_url: str) -> list[str]:
        client = OpenAIClient(Endpoint(model="chaos-1", base_url=base_url), fast=wire == "direct")
        places = asyncio.Semaphore(16)

        async def one(row: str) -> str:
            async with places:
                return (await client.complete(Request(model="chaos-1", messages=(Message("user", row),)))).text

        return await asyncio.gather(*map(one, rows))

    with chaos.spawn(seed=11, plan={"presets": ["storm"]}) as server:
        assert asyncio.run(run(server.base_url)) == [f"row-{i}" for i in range(300)]
        assert server.verify(texts=300) == []
