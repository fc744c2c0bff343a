"""What is worth another try, and how long it waits."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest
from tenacity import RetryCallState

from fewshot.errors import InputError, ServiceError
from fewshot.models.endpoint import Endpoint, Secret
from fewshot.models.wire.response import Reply
from fewshot.models.wire.retry import retrying, wait_asked, worth_retrying
from fewshot.models.wire.service_errors import failure


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Fri, 31 Dec 100000 23:59:59 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_what_a_reply_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_asked(headers) == seconds


def test_a_date_to_wait_for_is_understood() -> None:
    asked = wait_asked({"retry-after": formatdate(time.time() + 30, usegmt=True)})
    assert asked is not None
    assert 28 < asked <= 30


def test_a_date_that_has_come_counts_more_than_the_words_of_the_body() -> None:
    endpoint = Endpoint(model="m", base_url="http://localhost/v1", api_key=Secret("sk-test"))
    body = b'{"error": {"message": "Rate limit reached. Please try again in 20s."}}'
    for header, seconds in (({"retry-after": formatdate(time.time() - 1, usegmt=True)}, None), ({}, 20.0)):
        assert failure(Reply(429, header, body), endpoint).retry_after == seconds


def test_only_failures_of_the_service_that_may_pass_are_tried_again() -> None:
    assert worth_retrying(ServiceError("x", transient=True))
    others = [ServiceError("x"), InputError("x"), KeyboardInterrupt(), asyncio.CancelledError(), ValueError()]
    assert not any(map(worth_retrying, others))


def waits(error: ServiceError, attempts: int) -> list[float]:
    policy = retrying("host", max_retries=9, left=lambda: 60.0)
    found = []
    for number in range(1, attempts + 1):
        state = RetryCallState(policy, None, (), {})
        state.attempt_number = number
        state.set_exception((type(error), error, None))
        found.append(policy.wait(state))
    return found


def test_without_a_wish_the_wait_grows_and_is_jittered() -> None:
    found = waits(ServiceError("x", transient=True), 8)
    limits = [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert all(0 <= wait <= limit for wait, limit in zip(found, limits, strict=True))
    assert len(set(found)) == len(found)


def test_no_wait_is_shorter_than_the_service_asked() -> None:
    found = waits(ServiceError("x", transient=True, retry_after=3.0), 8)
    assert all(3 <= wait <= 3.75 for wait in found)


def attempts(error: ServiceError, *, max_retries: int, seconds: float) -> int:
    async def count() -> int:
        tries = 0
        policy = retrying("host", max_retries=max_retries, left=lambda: seconds)
        policy.sleep = lambda _: asyncio.sleep(0)
        try:
            async for attempt in policy:
                with attempt:
                    tries += 1
                    raise error
        except ServiceError:
            return tries
        raise AssertionError

    return asyncio.run(count())


def test_tries_are_counted() -> None:
    assert attempts(ServiceError("x", transient=True), max_retries=2, seconds=60) == 3
    assert attempts(ServiceError("x", transient=True), max_retries=0, seconds=60) == 1
    assert attempts(ServiceError("x"), max_retries=5, seconds=60) == 1


def test_a_wait_past_the_deadline_is_not_begun() -> None:
    assert attempts(ServiceError("x", transient=True, retry_after=3600), max_retries=5, seconds=60) == 1
