"""Requests and tokens a minute: what the caller allows, and what the service announces in its headers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fewshot.models.wire.retry import wait_asked

__all__ = ["Rate", "announced", "asked_to_wait"]

_PACE = 0.98
"""Share of an announced rate that is used: the service's clock and the wire are not quite ours."""
_RESERVE_SECONDS = 0.3
"""How much of an announced rate is left alone, so that a late burst finds room."""
_LONGEST_RESERVE = 0.2
_LONGEST_MINUTES = 1e9
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Rate:
    """A bucket that fills steadily: so many a minute, and as many at once as it holds.

    Times are seconds of any clock that only goes on, given by the caller.
    """

    def __init__(self, per_minute: float, now: float, *, pace: float = 1.0) -> None:
        """Begin with a bucket that can hold one second's worth, and holds one: so many a minute from the first on."""
        self.per_minute = per_minute
        self._pace = pace
        self._holds = max(1.0, per_minute / 60)
        self._level = 1.0
        self._at = now

    @classmethod
    def heard(cls, per_minute: float, remaining: float, in_flight: float, now: float) -> Rate:
        """Make the bucket that a service announces; what is in flight may not have been counted yet."""
        rate = cls(per_minute, now, pace=_PACE)
        rate._holds = max(1.0, remaining)
        rate._level = max(remaining - in_flight - rate._reserve, -per_minute)
        return rate

    def hear(self, per_minute: float, remaining: float, now: float) -> None:
        """Take over what the service announces now; its count wins where it is lower than ours."""
        self._fill(now)
        self.per_minute = per_minute
        self._holds = max(self._holds, remaining)
        self._level = min(self._level, remaining - self._reserve)

    def wait(self, now: float, amount: float = 1.0) -> float:
        """Tell how many seconds it takes until there is so much, or until the bucket is full; 0 when there is."""
        self._fill(now)
        missing = min(amount, self._holds) - self._level
        return missing / self._a_second if missing > 1e-9 else 0.0

    def take(self, amount: float = 1.0) -> None:
        """Take some out, or put back less than nothing; a debt is of a minute at most: no service counts longer."""
        self._level = min(max(self._level - amount, -self.per_minute), self._holds)

    def give(self, amount: float = 1.0) -> None:
        """Put back what was not used after all."""
        self.take(-amount)

    @property
    def _a_second(self) -> float:
        return self.per_minute * self._pace / 60

    @property
    def _reserve(self) -> float:
        return min(_RESERVE_SECONDS * self._a_second, _LONGEST_RESERVE * self._holds)

    def _fill(self, now: float) -> None:
        self._level = min(self._level + (now - self._at) * self._a_second, self._holds)
        self._at = now


def announced(headers: Mapping[str, str], what: str) -> tuple[float, float] | None:
    """Read the limit a minute and what is left of it (`x-ratelimit-limit-requests` and so on); None without them.

    Arguments:
        what: `"requests"` or `"tokens"`.
    """
    try:
        limit = float(headers[f"x-ratelimit-limit-{what}"])
        remaining = float(headers[f"x-ratelimit-remaining-{what}"])
    except (KeyError, ValueError):
        return None
    return (limit, min(remaining, limit)) if 1 <= limit < _LONGEST_MINUTES and remaining >= 0 else None


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Give the seconds that a refusal asks everybody to wait; None when it does not say.

    Without `Retry-After`, that is the reset of what is used up: the other one may be minutes away and does not matter.
    """
    asked = wait_asked(headers)
    if asked is not None:
        return asked
    empty = [what for what in ("requests", "tokens") if (found := announced(headers, what)) and found[1] < 1]
    resets = [_seconds(headers.get(f"x-ratelimit-reset-{what}", "")) for what in empty]
    return max((reset for reset in resets if reset), default=None)


def _seconds(duration: str) -> float:
    """Read `1s`, `6m0s`, `20ms` or a bare number of seconds; 0.0 for anything else."""
    try:
        return float(duration)
    except ValueError:
        return sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(duration))
