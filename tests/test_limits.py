"""How fast a run goes: by the service's own word, by the caller's caps, and by what latency shows.

Time is simulated: a minute of traffic takes a moment.
"""

from __future__ import annotations

import asyncio
import selectors
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer

from fewshot.models.connection import Connection
from fewshot.models.endpoint import Endpoint
from fewshot.models.openai_client import OpenAIClient
from fewshot.models.rate_limits import Limits, limited
from fewshot.models.token_bucket import Rate, announced, asked_to_wait
from fewshot.types import Message, Request, Usage

REQUEST = Request(model="m", messages=(Message("user", "x" * 400),), max_tokens=20)


class Simulated(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next thing to do instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__(_Jumping(self))
        self.now = 0.0

    def time(self) -> float:
        return self.now


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: Simulated) -> None:
        super().__init__()
        self._of = loop

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout:
            self._of.now += timeout
        return found


def simulate(main: Callable[[Simulated], Coroutine[Any, Any, Any]]) -> Any:
    loop = Simulated()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


@dataclass
class Provider:
    """Lets so many requests a minute through, from a bucket that holds one second's worth, and says so."""

    loop: Simulated
    rpm: float = 600.0
    tpm: float | None = None
    latency: float = 0.2
    announces: bool = True
    hint: float | None = None
    most: int = 10_000
    served: int = 0
    refused: int = 0
    in_flight: int = 0
    peak: int = 0
    times: list[float] = field(default_factory=list)
    slows_at: int = 10_000

    def __post_init__(self) -> None:
        self._holds = self.rpm / 60
        self._level, self._tokens, self._at = self._holds, self.tpm or 0.0, self.loop.time()

    async def ask(self, limits: Limits) -> int:
        await limits.enter(REQUEST)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        status = self._status()
        headers = self._headers(status)
        await asyncio.sleep(self.latency * max(1.0, self.in_flight / self.slows_at))
        self.in_flight -= 1
        limits.leave(REQUEST, status, headers)
        return status

    def _status(self) -> int:
        now = self.loop.time()
        self._level = min(self._holds, self._level + (now - self._at) * self.rpm / 60)
        if self.tpm:
            self._tokens = min(self.tpm, self._tokens + (now - self._at) * self.tpm / 60)
        self._at = now
        if self._level < 1 or self.in_flight > self.most or (self.tpm and self._tokens < 120):
            self.refused += 1
            return 429
        self._level -= 1
        self._tokens -= 120
        self.served += 1
        self.times.append(now)
        return 200

    def _headers(self, status: int) -> dict[str, str]:
        headers = {"retry-after": str(self.hint)} if self.hint and status == 429 else {}
        if self.announces:
            headers |= {
                "x-ratelimit-limit-requests": str(int(self.rpm)),
                "x-ratelimit-remaining-requests": str(int(self._level)),
                "x-ratelimit-reset-requests": f"{60 / self.rpm:.3f}s",
            }
        if self.announces and self.tpm:
            headers |= {
                "x-ratelimit-limit-tokens": str(int(self.tpm)),
                "x-ratelimit-remaining-tokens": str(int(self._tokens)),
            }
        return headers


async def keep_asking(provider: Provider, limits: Limits, *, until: float, workers: int = 300) -> None:
    """Ask one row after the other from many workers, each again and again until it is served, as the engine does."""

    async def work() -> None:
        while provider.loop.time() < until:
            ticket = await limits.admit()
            while await provider.ask(limits) == 429:
                await limits.again(ticket)
            limits.release(ticket, Usage(100, 20))

    jobs = [asyncio.ensure_future(work()) for _ in range(workers)]
    await asyncio.wait(jobs, timeout=until)
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


@pytest.mark.parametrize("latency", [0.02, 0.2, 1.5])
@pytest.mark.parametrize("concurrency", [None, 8, 32, 200])
def test_an_announced_rate_is_used_and_hardly_ever_overdone(concurrency: int | None, latency: float) -> None:
    async def main(loop: Simulated) -> Provider:
        provider = Provider(loop, rpm=600, latency=latency, hint=0.1)
        await keep_asking(provider, Limits(concurrency=concurrency, clock=loop.time), until=60)
        return provider

    provider = simulate(main)
    possible = min(600.0, 60 / latency * (concurrency or 600))
    assert provider.served >= 0.9 * possible
    assert provider.refused <= 0.02 * (provider.served + provider.refused)


def test_announced_tokens_count_too() -> None:
    async def main(loop: Simulated) -> Provider:
        provider = Provider(loop, rpm=6000, tpm=36_000, hint=0.1)  # 120 tokens each: 300 requests, and 300 at once
        await keep_asking(provider, Limits(clock=loop.time), until=60)
        return provider

    provider = simulate(main)
    assert provider.served >= 0.9 * 600
    assert provider.refused <= 0.02 * provider.served


@pytest.mark.parametrize(("rpm", "tpm"), [(300.0, None), (None, 36_000.0)])
def test_the_callers_own_rates_are_kept(rpm: float | None, tpm: float | None) -> None:
    async def main(loop: Simulated) -> Provider:
        provider = Provider(loop, rpm=60_000, announces=False)
        await keep_asking(provider, Limits(rpm=rpm, tpm=tpm, clock=loop.time), until=60)
        return provider

    provider = simulate(main)
    assert 0.95 * 300 <= provider.served <= 1.05 * 300


def test_when_one_is_told_to_wait_all_wait() -> None:
    async def main(loop: Simulated) -> list[float]:
        provider = Provider(loop, rpm=60_000, announces=False, latency=0.1)
        limits = Limits(concurrency=8, clock=loop.time)
        run = asyncio.ensure_future(keep_asking(provider, limits, until=20, workers=8))
        await asyncio.sleep(1.0)
        limits.leave(None, None, {})  # nobody's: no ticket here
        ticket = await limits.admit()
        await limits.enter(REQUEST)
        limits.leave(REQUEST, 429, {"retry-after": "10"})
        limits.release(ticket)
        await run
        return provider.times

    times = simulate(main)
    gap = max(later - earlier for earlier, later in pairwise(times))
    assert 9.8 <= gap <= 10.3


def test_a_long_hint_does_not_freeze_the_limit() -> None:
    """In another tool every refusal put off the next cut, so the limit never fell: each has its own clock here."""

    async def main(loop: Simulated) -> int:
        limits = Limits(concurrency=20, clock=loop.time)
        provider = Provider(loop, rpm=60_000, announces=False, most=2, hint=89.0)
        await keep_asking(provider, limits, until=900, workers=20)
        return limits.limit

    assert simulate(main) <= 4


def test_a_limit_of_requests_at_once_is_found() -> None:
    async def main(loop: Simulated) -> tuple[Provider, Limits]:
        provider = Provider(loop, rpm=60_000, announces=False, most=10)
        limits = Limits(clock=loop.time)
        await keep_asking(provider, limits, until=120)
        return provider, limits

    provider, limits = simulate(main)
    assert 5 <= limits.limit <= 14
    assert provider.served >= 0.7 * 10 * 120 / provider.latency


def test_the_level_stops_rising_where_replies_get_slower() -> None:
    async def main(loop: Simulated) -> Limits:
        provider = Provider(loop, rpm=600_000, announces=False, slows_at=16)
        limits = Limits(clock=loop.time)
        await keep_asking(provider, limits, until=120)
        return limits

    assert 16 <= simulate(main).limit <= 80


def test_a_failed_row_lends_its_slot_until_it_tries_again() -> None:
    async def main(loop: Simulated) -> list[str]:
        limits = Limits(concurrency=1, clock=loop.time)
        story: list[str] = []

        async def failing() -> None:
            ticket = await limits.admit()
            await limits.enter(REQUEST)
            limits.leave(REQUEST, 500, {})
            story.append("the first fails")
            await asyncio.sleep(5)  # as a retry waits
            await limits.enter(REQUEST)
            story.append("the first again")
            limits.leave(REQUEST, 200, {})
            limits.release(ticket)

        async def other() -> None:
            ticket = await limits.admit()
            await limits.enter(REQUEST)
            story.append("the second")
            limits.leave(REQUEST, 200, {})
            limits.release(ticket)

        await asyncio.gather(failing(), other())
        assert limits.busy == 0
        return story

    assert simulate(main) == ["the first fails", "the second", "the first again"]


def test_a_slot_whose_owner_is_cancelled_is_free_again() -> None:
    async def main(loop: Simulated) -> int:
        limits = Limits(concurrency=1, clock=loop.time)
        ticket = await limits.admit()
        waiting = asyncio.ensure_future(limits.admit())
        await asyncio.sleep(0)
        limits.release(ticket)
        waiting.cancel()
        await asyncio.wait([waiting])
        (await asyncio.wait_for(limits.admit(), 1)).has_slot = False
        return limits.busy

    assert simulate(main) == 1


def test_what_is_not_sent_is_given_back() -> None:
    async def main(loop: Simulated) -> float:
        limits = Limits(rpm=60, clock=loop.time)
        for _ in range(100):  # all from the cache
            limits.release(await limits.admit())
        return loop.time()

    assert simulate(main) == 0.0


def test_headers_are_read_leniently() -> None:
    good = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "9"}
    assert announced(good, "requests") == (600.0, 9.0)
    assert announced(good, "tokens") is None
    for limit, remaining in [("lots", "9"), ("0", "9"), ("nan", "9"), ("600", "-1"), ("600", "nan"), ("inf", "1")]:
        odd = {"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": remaining}
        assert announced(odd, "requests") is None


def test_without_retry_after_the_reset_of_what_is_used_up_counts() -> None:
    headers = {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m30.5s",
        "x-ratelimit-limit-tokens": "90000",
        "x-ratelimit-remaining-tokens": "500",
        "x-ratelimit-reset-tokens": "6h0m0s",
    }
    assert asked_to_wait(headers) == 90.5
    assert asked_to_wait({**headers, "retry-after-ms": "250"}) == 0.25
    assert asked_to_wait({**headers, "x-ratelimit-remaining-requests": "3"}) is None
    assert asked_to_wait({}) is None


def test_a_bucket_fills_steadily_and_never_beyond_its_size() -> None:
    rate = Rate(60, now=0.0)
    assert rate.wait(0.0) == 0.0
    rate.take()
    assert rate.wait(0.0) == pytest.approx(1.0)
    assert rate.wait(0.25) == pytest.approx(0.75)
    assert rate.wait(100.0) == 0.0
    rate.take()
    assert rate.wait(100.0) == pytest.approx(1.0)


def test_the_second_run_need_not_begin_modestly_where_the_first_heard_of_no_rate() -> None:
    with FaultServer() as server:
        there = Endpoint(model="m", base_url=server.base_url)
        connection = Connection(OpenAIClient(there), there)
        runs = [Limits(concurrency=100), Limits(concurrency=100)]
        first = limited(connection, runs[0])
        assert runs[0].limit < 100
        asyncio.run(first.client.complete(REQUEST))
        limited(connection, runs[1])
        assert runs[1].limit == 100


def test_a_row_that_holds_a_slot_does_not_wait_behind_one_that_wants_it() -> None:
    async def main(loop: Simulated) -> list[tuple[str, float]]:
        limits = Limits(concurrency=1, rpm=60, clock=loop.time)
        story: list[tuple[str, float]] = []

        async def asks_twice(ticket: Any) -> None:
            for _ in range(2):
                await limits.enter(REQUEST)
                story.append(("holds", round(loop.time())))
                limits.leave(REQUEST, 200, {})
            await asyncio.sleep(1)
            limits.release(ticket)

        async def failed_before() -> None:
            ticket = await limits.admit()
            await limits.enter(REQUEST)
            limits.leave(REQUEST, 500, {})
            other = asyncio.ensure_future(asks())
            await asyncio.sleep(1.5)  # a retry that comes before the other's second request may go
            await limits.enter(REQUEST)
            story.append(("retries", round(loop.time())))
            limits.leave(REQUEST, 200, {})
            limits.release(ticket)
            await other

        async def asks() -> None:
            await asks_twice(await limits.admit())

        async with asyncio.timeout(60):
            await failed_before()
        return story

    assert [who for who, _ in simulate(main)] == ["holds", "holds", "retries"]


@pytest.mark.parametrize("used", [Usage(10**8, 10**8), Usage(10**400, 0)])
def test_an_absurd_number_of_tokens_makes_no_debt_beyond_a_minute(used: Usage) -> None:
    async def main(loop: Simulated) -> float:
        limits = Limits(tpm=1000, clock=loop.time)
        ticket = await limits.admit()
        await limits.enter(REQUEST)
        limits.leave(REQUEST, 200, {})
        limits.release(ticket, used)
        await limits.admit()
        return loop.now

    assert simulate(main) <= 121


@pytest.mark.parametrize("left", ["1e300", "inf", "600"])
def test_what_is_left_is_never_more_than_the_limit(left: str) -> None:
    headers = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": left}
    assert announced(headers, "requests") == (600, 600)


@pytest.mark.parametrize("limit", ["1e-9", "0", "-1", "inf", "nan", "1e12", "9" * 400])
def test_a_rate_that_cannot_be_is_not_believed(limit: str) -> None:
    headers = {"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": "0"}
    assert announced(headers, "requests") is None


def test_a_wait_of_more_than_a_minute_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main(loop: Simulated) -> None:
        limits = Limits(clock=loop.time)
        limits.host = "slow.example"
        ticket = await limits.admit()
        await limits.enter(REQUEST)
        limits.leave(REQUEST, 429, {"retry-after": "300"})
        limits.release(ticket)
        await asyncio.gather(limits.admit(), limits.admit())

    simulate(main)
    assert [record.getMessage() for record in caplog.records] == [
        "fewshot: nothing is sent to slow.example for the next 5 min, by its limits or yours"
    ]


RUN_OUT = """
import resource, sys
from fewshot import Task
from fewshot.models import rate_limits
task = Task.of("Say it again: {{ text }}", output=str, base_url=sys.argv[1], model="m")
task("first")
resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
for way in ("foreseen", "found out"):
    rows = [f"{way} {number}" for number in range(60)]
    results = list(task.map(rows, concurrency=60, out=f"{sys.argv[2]}/{way}.jsonl"))
    print(sum(f"{row}\\n" in str(result.value) for row, result in zip(rows, results)))
    rate_limits._room = lambda: sys.maxsize
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_files_that_run_out_lower_the_rows_in_flight(tmp_path: Path) -> None:
    with FaultServer() as server:
        server.work = 0.3
        done = subprocess.run(
            [sys.executable, "-c", RUN_OUT, server.base_url, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert (done.stdout, "Traceback" in done.stderr) == ("60\n60\n", False), done.stderr
    assert done.stderr.count("`ulimit -n`") >= 2
    for way in ("foreseen", "found out"):
        assert (tmp_path / f"{way}.jsonl").read_bytes().count(b"\n") == 60
