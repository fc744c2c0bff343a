"""Which failures of a call are worth another try, and how long to wait."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import TYPE_CHECKING, TypeVar

from fewshot._progress import duration
from fewshot.errors import ServiceError
from fewshot.models.deadline import Deadline

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

__all__ = ["persist", "retrying", "tell_of_wait", "wait_asked", "wait_is_over", "worth_retrying"]

T = TypeVar("T")

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_LONG = 60.0
"""Seconds of waiting that are told: whoever sees nothing happen for longer thinks that it hangs."""

_log = logging.getLogger("fewshot")
_told: dict[str, float] = {}
"""Until when each host was last said to be waited for."""


async def persist(once: Callable[[], Awaitable[T]], deadline: Deadline, *, host: str, max_retries: int) -> T:
    """Try until it works, until another try is no use, or until the deadline.

    Raises:
        ServiceError: the last failure. TimeoutError: the deadline came while it was tried.
    """

    async def tried() -> T:
        try:
            return await once()
        except ServiceError as error:  # only then is there something to try again, and a policy worth making
            failed = [error]

        async def again() -> T:
            if failed:
                raise failed.pop()
            return await once()

        return await retrying(host, max_retries=max_retries, left=lambda: deadline.left)(again)

    return await deadline.keep(tried())


def retrying(host: str, *, max_retries: int, left: Callable[[], float]) -> AsyncRetrying:
    """Give the policy for one call; make a new one for each call, since tenacity keeps its state in it.

    Arguments:
        host: whom it is for, in what is told.
        left: gives the seconds that the call has left; a wait of as many is not begun.
    """
    from tenacity import AsyncRetrying, retry_if_exception

    def stop(state: RetryCallState) -> bool:
        return state.attempt_number > max_retries or state.upcoming_sleep >= left()

    def tell(state: RetryCallState) -> None:
        tell_of_wait(host, state.upcoming_sleep)

    policy = retry_if_exception(worth_retrying)
    return AsyncRetrying(retry=policy, wait=_wait, stop=stop, before_sleep=tell, reraise=True)


def tell_of_wait(host: str, seconds: float) -> None:
    """Say that nothing is sent to a host for more than a minute; once where several wait for the same moment."""
    until = time.monotonic() + seconds
    if seconds > _LONG and until > _told.get(host, 0.0) + 1.0:
        _told[host] = until
        _log.warning("fewshot: nothing is sent to %s for the next %s, by its limits or yours", host, duration(seconds))


def worth_retrying(error: BaseException) -> bool:
    """Tell whether another try may succeed; never for cancellation, Ctrl-C and errors that are not the service's."""
    return isinstance(error, ServiceError) and error.transient


def wait_asked(headers: Mapping[str, str]) -> float | None:
    """Give the seconds that a reply asks to wait (`retry-after-ms`, `retry-after`); None when it asks for none."""
    try:
        seconds = float(headers["retry-after-ms"]) / 1000
    except (KeyError, ValueError):
        seconds = _seconds(headers.get("retry-after", ""))
    return seconds if isfinite(seconds) and seconds > 0 else None


def wait_is_over(headers: Mapping[str, str]) -> bool:
    """Tell whether a reply names a time to wait for that has come by now, whatever else its words say."""
    return ":" in headers.get("retry-after", "") and _seconds(headers["retry-after"]) < 0


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


def _wait(state: RetryCallState) -> float:
    """Wait at least as long as the service asked, with jitter so that the herd does not return together.

    Where it names no wait: exponential back-off with full jitter ("Exponential Backoff And Jitter", Amazon Architecture
    Blog, 2015).
    """
    backoff: float = min(_FIRST_WAIT * 2.0 ** (state.attempt_number - 1), _LONGEST_WAIT)
    jitter = random.uniform(0, backoff)  # noqa: S311 - no secret
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ServiceError) else None
    return jitter if asked is None else asked + min(jitter, asked / 4)
