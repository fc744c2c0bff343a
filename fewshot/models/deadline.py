"""Deadlines that are put off by what the process lost: stopped and continued, frozen with its container, or blocked.

What arrived meanwhile waits to be read, and would otherwise be given up all at once, paid for as it is.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable
from typing import TypeVar
from weakref import WeakKeyDictionary

__all__ = ["Deadline"]

T = TypeVar("T")

_BEAT = 0.5
_LATE = 1.0
"""Seconds by which a beat comes too late when the process, or the loop, stood still."""


class _Pulse:
    """Beats on one event loop while something there has a deadline, and so finds out when the loop stood still."""

    def __init__(self) -> None:
        self.watched = 0
        self._beating = False
        self._last = 0.0
        self._lost = 0.0

    @property
    def lost(self) -> float:
        """Seconds that were lost so far, with those that no beat has told of yet."""
        since = time.monotonic() - self._last if self._beating else 0.0
        return self._lost + (since if since > _BEAT + _LATE else 0.0)

    def begin(self) -> None:
        """Beat from now on, until nothing is watched."""
        if not self._beating:
            self._beating = True
            self._next()

    def _next(self) -> None:
        self._last = time.monotonic()
        asyncio.get_running_loop().call_later(_BEAT, self._beat)

    def _beat(self) -> None:
        self._lost = self.lost
        if self.watched:
            self._next()
        else:
            self._beating = False


_pulses: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pulse] = WeakKeyDictionary()


class Deadline:
    """A moment by which something is over, on the running loop; pauses from now on put it off by their length."""

    def __init__(self, at: float) -> None:
        """Set it, as a `time.monotonic()` value."""
        self.given = at
        loop = asyncio.get_running_loop()
        self._pulse = _pulses.get(loop) or _pulses.setdefault(loop, _Pulse())
        self._before = self._pulse.lost

    @property
    def at(self) -> float:
        """The moment, as a `time.monotonic()` value."""
        return self.given + self._pulse.lost - self._before

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self.at - time.monotonic()

    async def keep(self, doing: Awaitable[T]) -> T:
        """Wait for something; raises TimeoutError where it takes longer."""
        if self.given == math.inf:
            return await doing
        loop, pulse = asyncio.get_running_loop(), self._pulse
        pulse.begin()
        pulse.watched += 1
        alarm: asyncio.TimerHandle | None = None
        try:
            async with asyncio.timeout(None) as limit:

                def end() -> None:
                    nonlocal alarm
                    if (left := self.left) <= 0:
                        limit.reschedule(loop.time())
                    else:
                        alarm = loop.call_later(left, end)

                end()
                return await doing
        finally:
            pulse.watched -= 1
            if alarm is not None:
                alarm.cancel()
