"""A pause of the process puts deadlines off: what has arrived meanwhile is read, and no row fails."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from fault_server import FaultServer, echo

from fewshot.models import deadline
from fewshot.models.deadline import Deadline
from fewshot.models.endpoint import Endpoint
from fewshot.models.openai_client import OpenAIClient
from fewshot.types import Message, Request

ASK = Request(model="m", messages=(Message("user", "x"),))


def until(there: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not there():
        assert time.monotonic() < end
        threading.Event().wait(0.002)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "_BEAT", 0.01)
    monkeypatch.setattr(deadline, "_LATE", 0.1)


@pytest.mark.parametrize("fast", [True, False])
def test_an_answer_that_came_while_the_loop_stood_still_is_read(quick: None, fast: bool) -> None:
    async def main(server: FaultServer) -> str:
        client = OpenAIClient(Endpoint(model="m", base_url=server.base_url), fast=fast, max_retries=0)
        await client.ready()
        asked = asyncio.create_task(client.complete(ASK, deadline=time.monotonic() + 0.3))
        await asyncio.to_thread(until, lambda: server.requests)
        time.sleep(0.6)  # noqa: ASYNC251 - nothing on this loop goes on, and the deadline passes
        return (await asked).text

    with FaultServer() as server:
        server.work = 0.1
        assert asyncio.run(main(server)) == echo("x")
        assert len(server.requests) == 1


def test_without_a_pause_a_deadline_is_kept(quick: None) -> None:
    async def main() -> float:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            await Deadline(begun + 0.05).keep(asyncio.Event().wait())
        return time.monotonic() - begun

    assert asyncio.run(main()) >= 0.05


def test_what_is_over_before_it_begins_ends_at_once() -> None:
    async def main() -> None:
        await Deadline(time.monotonic() - 1).keep(asyncio.Event().wait())

    with pytest.raises(TimeoutError):
        asyncio.run(main())


PAUSED = """
import json, sys
from fewshot import Task
task = Task.of("Say it again: {{ text }}", output=str, base_url=sys.argv[1], model="m", timeout=2, max_retries=0)
for result in task.map([f"row {number}" for number in range(8)], concurrency=8):
    print(json.dumps([result.value, str(result.error or "")]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="signals of Unix")
def test_a_process_that_is_stopped_and_continued_loses_nothing() -> None:
    with FaultServer() as server:
        server.work = 0.5
        process = subprocess.Popen(
            [sys.executable, "-c", PAUSED, server.base_url],
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENAI_API_KEY": "sk-test"},
        )
        until(lambda: len(server.requests) == 8)
        process.send_signal(signal.SIGSTOP)
        threading.Event().wait(4)  # twice the time that each row has
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=60)
        found = [json.loads(line) for line in said.decode().splitlines()]
        assert len(found) == 8
        assert [error for _, error in found] == [""] * 8
        assert [f"row {number}\n" in value for number, (value, _) in enumerate(found)] == [True] * 8
        assert len(server.requests) == 8
