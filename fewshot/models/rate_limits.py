"""How many rows are asked at once, and when the next request may go: found from how the service behaves.

Three things, kept apart. A gate: after a refusal that says how long to wait, no row sends anything until then. Rates:
requests and tokens a minute, from the caller or from `x-ratelimit-*` headers. And a limit of rows in flight: it doubles
every clean round until the first refusal or until replies get slower, then grows by a twentieth a round, and falls by a
fifth on a refusal, at most once in two seconds by its own clock (additive increase, multiplicative decrease: Chiu and
Jain, "Analysis of the increase and decrease algorithms", 1989).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING

from fewshot.models.client import ClientWrapper, pass_through
from fewshot.models.token_bucket import Rate, announced, asked_to_wait
from fewshot.models.tokens import request_tokens
from fewshot.models.wire.retry import tell_of_wait
from fewshot.types import Request, Usage

if TYPE_CHECKING:
    from fewshot.models.connection import Connection

__all__ = ["LONGEST_HOLD", "Limits", "Ticket", "beside_rows", "limited"]

LONGEST_HOLD = 600.0
"""Seconds that a whole run waits because one reply asks for it; who is asked to wait longer fails, row by row."""
_FIRST = 8
"""Rows in flight until the first reply, which may announce a rate."""
_MOST = 256
_MOST_LOCALLY = 1
"""The embedded model works on one request at a time, and a row asks again about what it has just computed."""
_CUT = 0.8
_COOLING = 2.0
_GROWTH = 20
_LEAST_ROUND = 4
_SLOWER, _TOO_SLOW = 2.0, 3.0
"""Replies slower than these multiples of the best round end the doubling, and the growth."""
_JITTER = 0.005
_LONGEST_ANSWER = 512
_MOST_USED = 10**9
_SPARE_FILES = 16
"""Files that are left to others: the output, its record, the audit log, certificates."""

_log = logging.getLogger("fewshot")


class Ticket:
    """The leave of one row to send; it is held until the row's answer is safe."""

    __slots__ = ("active", "begun", "charged", "expected", "has_slot", "lends", "prepaid", "waited")

    def __init__(self, *, lends: bool = True) -> None:
        self.has_slot = True
        self.lends = lends
        """A row lends its slot after a failure; what rows wait for themselves has none to lend."""
        self.prepaid = lends
        """The row's first request is already counted."""
        self.active = 0
        """Requests on the wire."""
        self.charged = 0.0
        """Tokens counted so far."""
        self.expected = 0.0
        """Tokens counted for the next request before it was known."""
        self.begun = 0.0
        self.waited = 0.0
        """Seconds of the row's own time that it stood before the gate."""


class Limits:
    """Decides when a row may be asked; a `Gate` for the client. Belongs to one run on one event loop."""

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        rpm: float | None = None,
        tpm: float | None = None,
        local: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the caller's own limits.

        Arguments:
            concurrency: most rows in flight; used from the first reply on. By default the level finds itself.
            rpm: requests a minute.
            tpm: tokens a minute.
            local: the embedded model answers, which gains nothing from many rows at once.
            clock: seconds that only go on, those of the event loop.
        """
        now = clock()
        self.host = ""
        """The host whose limits these are; `limited` tells it."""
        self._clock = clock
        self.most = min(concurrency or (_MOST_LOCALLY if local else _MOST), room := _room())
        if concurrency and room < concurrency:
            self._tell_of_files()
        self.limit = min(self.most, _FIRST)
        self.busy = 0
        """Rows that hold a slot: asked, or answered and not yet safe."""
        self.sending = 0
        """Requests on the wire."""
        self.refusals = 0
        self._wanted = concurrency
        self._own = {"requests": Rate(rpm, now) if rpm else None, "tokens": Rate(tpm, now) if tpm else None}
        self._heard: dict[str, Rate] = {}
        self._typical_tokens = 0.0
        self._closed = False
        self._not_before = 0.0
        self._waiting: deque[asyncio.Future[float]] = deque()
        """Rows that wait for a slot, and for the rates."""
        self._next: deque[asyncio.Future[float]] = deque()
        """Rows that hold a slot and wait for the rates: these first, since others wait for their slots."""
        self._alarm: asyncio.TimerHandle | None = None
        self._doubling = True
        self._first_reply = True
        self._cut_at = -_COOLING
        self._best = float("inf")
        self._peak = 0
        self._new_round()

    # -- rows -----------------------------------------------------------------------------------------------------

    async def admit(self) -> Ticket:
        """Wait until a row may be asked, and give its ticket; hand it back with `release`."""
        ticket = Ticket()
        ticket.charged = ticket.expected = await self._turn(needs_slot=True, is_new=True)
        _ticket.set(ticket)
        pass_through(self, self.host)
        return ticket

    async def again(self, ticket: Ticket) -> None:
        """Wait until a row that lent its slot may be asked once more."""
        if not ticket.prepaid:
            await self._turn_of(ticket)
            ticket.prepaid = True
        ticket.waited = 0.0

    def release(self, ticket: Ticket, usage: Usage | None = None) -> None:
        """Take a ticket back; tokens that were counted and not used are given back."""
        used = 0 if usage is None else min(usage.input_tokens + usage.output_tokens, _MOST_USED)
        if ticket.prepaid:
            self._give_back(ticket.expected)
        elif used and ticket.charged:
            for rate in self._rates("tokens"):
                rate.take(used - ticket.charged)
            self._typical_tokens += 0.1 * (used - self._typical_tokens)
        if ticket.has_slot:
            ticket.has_slot = False
            self._free()

    def skip_first_round(self) -> None:
        """Begin with the caller's own level: the service is known to announce no rate."""
        if self._wanted:
            self.limit, self._first_reply = self.most, False

    def crowded(self) -> None:
        """No file was free for a connection: from now on no more rows are in flight than have one."""
        most = max(1, min(self.limit, self.sending - _SPARE_FILES // 4))
        if most < self.most:
            self.most = self.limit = most
            self._tell_of_files()

    def _tell_of_files(self) -> None:
        _log.warning("fewshot: the files that may be open allow %d rows at once: raise it with `ulimit -n`", self.most)

    def close(self) -> None:
        """Let no further request begin; those on the wire go on."""
        self._closed = True

    # -- requests: the client's Gate ------------------------------------------------------------------------------

    async def enter(self, request: Request | None) -> None:
        """Wait until the next request of the running row may go."""
        ticket = _ticket.get(None)
        if ticket is None:
            return
        if ticket.prepaid and not self._closed:
            ticket.prepaid = False
        else:
            await self._turn_of(ticket)
        ticket.active += 1
        self.sending += 1
        ticket.begun = self._clock()
        if request is not None and (rates := self._rates("tokens")):
            tokens = request_tokens(request).likely + (request.max_tokens or _LONGEST_ANSWER) * request.n
            self._typical_tokens = self._typical_tokens or tokens
            ticket.charged += tokens - ticket.expected
            for rate in rates:
                rate.take(tokens - ticket.expected)

    def leave(self, request: Request | None, status: int | None, headers: Mapping[str, str]) -> None:  # noqa: ARG002
        """Learn from a reply; a row that failed lends its slot to others until it tries again."""
        ticket = _ticket.get(None)
        if ticket is None:
            return
        ticket.active -= 1
        self.sending -= 1
        now = self._clock()
        self._listen(headers, now)
        if status == 200:
            self._went_well(now - ticket.begun)
        elif status == 429:
            self._refused(asked_to_wait(headers), now)
        if status != 200 and not ticket.active and ticket.has_slot and ticket.lends:
            ticket.has_slot = False
            self._free()
        self._pump()

    # -- whose turn it is -----------------------------------------------------------------------------------------

    async def _turn(self, *, needs_slot: bool, is_new: bool = False) -> float:
        """Wait for a slot and for the rates, and give the tokens that were counted.

        Rows that were already asked once go before new ones.
        """
        queue = self._waiting if needs_slot else self._next
        if not self._next and not (needs_slot and self._waiting) and self._may_go(needs_slot=needs_slot):
            return self._go(needs_slot=needs_slot)
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if is_new or not needs_slot:
            queue.append(turn)
        else:
            queue.appendleft(turn)
        self._pump()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(turn.result())
                if needs_slot:
                    self._free()
            raise

    async def _turn_of(self, ticket: Ticket) -> None:
        needs_slot, begun = not ticket.has_slot, self._clock()
        try:
            ticket.expected = await self._turn(needs_slot=needs_slot)
        finally:
            ticket.waited += self._clock() - begun
        ticket.charged += ticket.expected
        if needs_slot and ticket.has_slot:  # another request of the same row was quicker
            self._free()
        ticket.has_slot = True

    def _may_go(self, *, needs_slot: bool) -> bool:
        return not self._closed and (not needs_slot or self.busy < self.limit) and not self._seconds_to_wait()

    def _go(self, *, needs_slot: bool) -> float:
        self.busy += needs_slot
        self._peak = max(self._peak, self.busy)
        for rate in self._rates("requests"):
            rate.take()
        for rate in (token_rates := self._rates("tokens")):
            rate.take(self._typical_tokens)
        return self._typical_tokens if token_rates else 0.0

    def _give_back(self, tokens: float) -> None:
        for rate in self._rates("requests"):
            rate.give()
        for rate in self._rates("tokens"):
            rate.give(tokens)

    def _pump(self) -> None:
        while (self._next or self._waiting) and not self._closed:
            queue = self._next or self._waiting
            needs_slot = queue is self._waiting
            if queue[0].done():
                queue.popleft()
            elif needs_slot and self.busy >= self.limit:
                return
            elif wait := self._seconds_to_wait():
                self._wake_in(wait)
                return
            else:
                queue.popleft().set_result(self._go(needs_slot=needs_slot))

    def _seconds_to_wait(self) -> float:
        now = self._clock()
        waits = [rate.wait(now) for rate in self._rates("requests")]
        waits += [rate.wait(now, self._typical_tokens) for rate in self._rates("tokens")]
        return max(self._not_before - now, 0.0, *waits)

    def _wake_in(self, seconds: float) -> None:
        tell_of_wait(self.host, seconds)
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._pump)

    def _free(self) -> None:
        self.busy -= 1
        self._pump()

    def _rates(self, what: str) -> list[Rate]:
        own, heard = self._own[what], self._heard.get(what)
        return [rate for rate in (own, heard) if rate is not None]

    # -- learning -------------------------------------------------------------------------------------------------

    def _listen(self, headers: Mapping[str, str], now: float) -> None:
        for what in ("requests", "tokens"):
            found = announced(headers, what)
            if found is None:
                continue
            if what in self._heard:
                self._heard[what].hear(*found, now)
            else:
                in_flight = self.sending * (1 if what == "requests" else self._typical_tokens)
                self._heard[what] = Rate.heard(*found, in_flight, now)

    def _went_well(self, seconds: float) -> None:
        if self._first_reply and not self._heard:
            self.skip_first_round()
        self._first_reply = False
        self._count += 1
        self._seconds += seconds
        if self._count < max(self.limit, _LEAST_ROUND):
            return
        mean = self._seconds / self._count
        self._best = min(self._best, mean)
        self._doubling = self._doubling and mean <= _SLOWER * self._best + _JITTER
        if self._peak >= _CUT * self.limit and mean <= _TOO_SLOW * self._best + _JITTER:
            more = self.limit if self._doubling else max(1, self.limit // _GROWTH)
            self.limit = min(self.limit + more, self.most)
        self._new_round()

    def _refused(self, wait: float | None, now: float) -> None:
        self.refusals += 1
        self._doubling = False
        if wait is not None and wait <= LONGEST_HOLD:
            self._not_before = max(self._not_before, now + wait)
        if now - self._cut_at >= _COOLING:
            self._cut_at = now
            self.limit = max(1, int(self.limit * _CUT))
        self._new_round()

    def _new_round(self) -> None:
        self._count, self._seconds, self._peak = 0, 0.0, self.busy


def limited(connection: Connection, limits: Limits) -> Connection:
    """Put a connection under limits: what the rows that these admit ask of it passes them; a cache's answers do not."""
    client, limits.host = connection.client, connection.endpoint.host
    heard = getattr(client, "heard", None)
    if heard and not any(announced(heard[-1], what) for what in ("requests", "tokens")):
        limits.skip_first_round()
    return connection if getattr(client, "asks_gate", False) else connection.through(ClientWrapper(client))


def _room() -> int:
    """Tell how many rows can be in flight with the files that may still be opened: two each, as connections rest."""
    try:
        import resource

        most, there = resource.getrlimit(resource.RLIMIT_NOFILE)[0], len(os.listdir("/dev/fd"))  # noqa: PTH208
    except (ImportError, OSError):  # Windows has neither
        return sys.maxsize
    return sys.maxsize if most == resource.RLIM_INFINITY else max(1, (most - there - _SPARE_FILES) // 2)


def beside_rows() -> Context:
    """Give a context for requests that several rows wait for: they keep to the rates, and hold and lend no slot."""
    context = copy_context()
    if context.get(_ticket) is not None:
        context.run(_ticket.set, Ticket(lends=False))
    return context


_ticket: ContextVar[Ticket] = ContextVar("ticket")
"""The ticket of the row that the running task asks."""
