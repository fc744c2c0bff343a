"""Every function that ships, against every fault of the shared server: a value or the documented error, in time."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fewshot import (
    OutputError,
    ServiceError,
    answer,
    calculate,
    classify,
    classify_sentiment,
    complete_pattern,
    detect_injection,
    extract,
    summarize,
    translate,
)

pytestmark = pytest.mark.slow
_TIMEOUT = 4.0
_SIDE_BY_SIDE = 12


class Verdict(BaseModel):
    label: str


@pytest.fixture(scope="module")
def chaos(shared: Path) -> Iterator[Any]:
    sys.path.insert(0, str(shared / "servers"))
    try:
        import chaos as module

        yield module
    finally:
        sys.path.remove(str(shared / "servers"))


FUNCTIONS: dict[str, tuple[Callable[..., Awaitable[Any]], type | tuple[type, ...]]] = {
    "classify_sentiment": (lambda text, **o: classify_sentiment.arun(f"I love it. {text}", **o), str),
    "classify": (lambda text, **o: classify.arun(f"label=ham {text}", ["spam", "ham"], **o), str),
    "translate": (lambda text, **o: translate.arun(f"Good morning {text}", **o), str),
    "complete_pattern": (
        lambda text, **o: complete_pattern.arun([("Java", "James Gosling")], f"Rust {text}", **o),
        str,
    ),
    "summarize": (lambda text, **o: summarize.arun(f"Much happened. {text}", max_sentences=1, **o), str),
    "answer": (lambda text, **o: answer.arun(f"Who? {text}", **o), (str, type(None))),
    "calculate": (lambda text, **o: calculate.arun(f"2 + 2 = ? {text}", **o), (int, float, Decimal)),
    "extract": (lambda text, **o: extract.arun(f"label=good {text}", Verdict, **o), Verdict),
    "detect_injection": (lambda text, **o: detect_injection.arun(f"label=benign {text}", **o), str),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_fault_ends_in_a_value_or_a_documented_error_in_time(name: str, chaos: Any) -> None:
    function, kind = FUNCTIONS[name]

    async def one(fault: str, base_url: str, gate: asyncio.Semaphore) -> str | None:
        async with gate:
            started = time.monotonic()
            result = await function(
                f"[[chaos:{fault}]]", base_url=base_url, model="chaos-1", timeout=_TIMEOUT, max_retries=2, max_repairs=1
            )
            took = time.monotonic() - started
        if took > _TIMEOUT * 1.5:
            return f"{fault}: took {took:.1f} s"
        if result.error is not None:
            return None if isinstance(result.error, ServiceError | OutputError) else f"{fault}: {result.error!r}"
        return None if isinstance(result.value, kind) else f"{fault}: {result.value!r}"

    async def all_of_them(base_url: str) -> list[str | None]:
        gate = asyncio.Semaphore(_SIDE_BY_SIDE)
        return await asyncio.gather(*(one(fault, base_url, gate) for fault in chaos.FAULTS))

    with chaos.spawn(seed=7) as server:
        problems = [problem for problem in asyncio.run(all_of_them(server.base_url)) if problem]
        assert problems == []
        assert server.stats()["server_bugs"] == 0


HARMLESS = ("prose", "prose_long", "words", "fenced", "fenced_prose", "upper", "quoted", "period", "whitespace")
HARMLESS += (
    "label_echo",
    "continues",
    "nul",
    "bidi",
    "zwsp",
    "bom",
    "nfd",
    "usage_missing",
    "usage_zero",
    "dup_headers",
)
HARMLESS += ("early_hints", "gzip", "drop_after", "unsolicited", "other_model", "bad_charset", "lone_surrogate", "ansi")


def test_however_a_careless_model_words_it_the_number_is_right(chaos: Any) -> None:
    async def all_of_them(base_url: str) -> dict[str, object]:
        options: dict[str, Any] = {"base_url": base_url, "model": "chaos-1", "max_retries": 2, "timeout": 10.0}
        return {
            fault: (await calculate.arun(f"17 + {i} [[chaos:{fault}]]", **options)).value
            for i, fault in enumerate(HARMLESS)
        }

    with chaos.spawn(seed=7) as server:
        got = asyncio.run(all_of_them(server.base_url))
    assert got == {fault: 17 + i for i, fault in enumerate(HARMLESS)}


@pytest.mark.parametrize("model", ["reasoning", "no-temperature", "no-max-tokens", "old", "no-schema", "ignore-schema"])
def test_what_a_model_refuses_is_dropped_once_and_told(model: str, chaos: Any) -> None:
    with chaos.spawn(seed=7) as server:
        options: dict[str, Any] = {"base_url": server.base_url, "model": f"chaos-{model}", "timeout": 10.0}
        first = classify_sentiment.run("I love it.", **options)
        again = classify_sentiment.run("I hate it.", **options)
        record = extract.run("label=good", Verdict, **options)
    assert (first.value, again.value) == ("positive", "negative")
    assert again.attempts == 1, "what is refused is remembered"
    assert isinstance(record.value, Verdict) or isinstance(record.error, OutputError), "it writes no JSON unasked"
    if model in ("reasoning", "no-temperature", "old"):
        assert first.dropped or again.dropped


def test_a_retired_model_is_named_with_what_to_do(chaos: Any) -> None:
    with chaos.spawn(seed=7) as server, pytest.raises(ServiceError, match=re.escape("chaos-retired")) as caught:
        classify_sentiment("x", base_url=server.base_url, model="chaos-retired")
    assert caught.value.status == 404
    assert not caught.value.transient
