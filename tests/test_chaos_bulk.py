"""Bulk runs against the hostile server: every row in its place, the right value, nothing lost, nothing paid twice."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import fewshot
from fewshot.errors import ServiceError
from fewshot.result import Result
from fewshot.task import Task

SERVERS = Path(__file__).resolve().parents[2] / "shared" / "servers"
if not (SERVERS / "chaos.py").exists():
    pytest.skip("the shared fault server is not beside this checkout", allow_module_level=True)
pytestmark = pytest.mark.slow

sys.path.insert(0, str(SERVERS))
chaos: Any = importlib.import_module("chaos")
sys.path.remove(str(SERVERS))

ROWS = int(os.environ.get("FEWSHOT_TEST_ROWS", "200"))
"""Each refusal of a storm holds the whole run for a second, so 2,000 rows take minutes."""
ACCOUNT = ("429_quota", "401", "401_leaky", "403")
LATE = ("hang", "hang_after_headers", "slowloris", "huge", "gzip_bomb")
"""These end with the deadline or take the server's whole time: few of them."""
SETTINGS: dict[str, dict[str, Any]] = {
    "429_s": {"retry_after": 0.2}, "429_date": {"retry_after": 1}, "429_ms": {"retry_after": 0.1},
    "503": {"retry_after": 0.1}, "slow": {"delay": 0.2}, "huge": {"mb": 1}, "gzip_bomb": {"mb": 33},
}  # fmt: skip


def texts(count: int, tag: str = "") -> list[str]:
    return [f"I {'love' if i % 2 else 'hate'} row {i}{tag}" for i in range(count)]


def task(base_url: str, **options: Any) -> Task[Any]:
    return fewshot.load("sentiment", base_url=base_url, model="chaos-1", api_key="sk-test", k=4, **options)


def collect(t: Task[Any], rows: list[str], *, mode: str, **options: Any) -> list[Result[Any]]:
    if mode == "sync":
        return list(t.map(rows, **options))

    async def run() -> list[Result[Any]]:
        return [result async for result in t.amap(rows, **options)]

    return asyncio.run(run())


def check(results: list[Result[Any]], rows: list[str]) -> None:
    """Every row is there, in its place; what has a value has the right one."""
    assert [r.row for r in results] == list(range(len(rows)))
    assert [r.inputs["text"] for r in results] == rows
    wrong = [(r.row, r.value) for r in results if r.error is None and r.value != chaos.answer(r.inputs["text"])]
    assert wrong == []


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("concurrency", [1, 8, 32])
def test_a_storm_loses_nothing(concurrency: int, mode: str) -> None:
    rows = texts(ROWS if concurrency > 1 else ROWS // 4)  # one after the other takes long
    with chaos.spawn(seed=concurrency, args=["--preset", "storm"]) as server:
        results = collect(task(server.base_url, timeout=60.0), rows, mode=mode, concurrency=concurrency)
        stats = server.stats(detail=True)
        problems = server.verify(texts=len(rows))
    check(results, rows)
    assert [r.error for r in results if r.error] == []
    assert problems == []
    assert stats["max_inflight"] <= concurrency
    assert stats["good_answers_sent"] == len(rows), "no answer that arrived was thrown away and paid again"


@pytest.mark.parametrize("fault", [fault for fault in chaos.FAULTS if fault not in ACCOUNT])
def test_each_fault_alone_touches_its_own_rows_only(fault: str) -> None:
    rows = texts(60 if fault in LATE else 2 * ROWS)
    last = "7" if fault in LATE else "37"
    rule = {"fault": fault, "text": rf"row \d*[{last}]\b", "max_attempt": 1, **SETTINGS.get(fault, {})}
    with chaos.spawn(seed=5, plan={"rules": [rule]}) as server:
        # A server that writes megabytes is slow for all who ask it meanwhile.
        t = task(server.base_url, timeout=40.0 if fault in ("huge", "gzip_bomb") else 8.0, max_repairs=1)
        results = collect(t, rows, mode="async", concurrency=32)
        violations = server.stats()["violations"]
    assert [r.row for r in results] == list(range(len(rows)))
    for result in results:
        if str(result.row)[-1] not in last:
            assert (result.error, result.value) == (None, chaos.answer(result.inputs["text"]))
    assert {name: n for name, n in violations.items() if n} == {}


@pytest.mark.parametrize("concurrency", [1, 8, 32])
@pytest.mark.parametrize("fault", ACCOUNT)
def test_a_refused_account_stops_within_one_round(fault: str, concurrency: int, tmp_path: Path) -> None:
    rule = {"fault": fault, "text": "row .*[5]"}
    rows, out = texts(2 * ROWS), tmp_path / "out.jsonl"
    with chaos.spawn(seed=5, plan={"rules": [rule]}) as server:
        t = task(server.base_url)
        with pytest.raises(ServiceError) as caught:
            list(t.map(rows, out=out, concurrency=concurrency))
        assert caught.value.account
        assert "sk-test" not in str(caught.value)
        assert server.stats()["requests"] <= 5 + 2 * concurrency
        server.plan({"rules": []})
        results = list(t.map(rows, out=out, concurrency=32))
        problems = server.verify(texts=len(rows), max_billed=1)
    # The refused rows are asked again, but by the second run, after the account was put right.
    assert [problem for problem in problems if "retried_fatal" not in problem] == []
    check(results, rows)
    assert [json.loads(line)["row"] for line in out.read_bytes().split(b"\n")[:-1]] == list(range(len(rows)))


def test_an_announced_limit_is_kept() -> None:
    with chaos.spawn(seed=1, args=["--rpm", "600", "--latency-ms", "50"]) as server:
        rows = texts(200)
        results = list(task(server.base_url).map(rows))
        stats = server.stats()
    check(results, rows)
    refused = stats["requests"] - len(rows)
    assert refused <= 0.02 * stats["requests"]
