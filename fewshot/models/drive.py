"""Running a conversation against a client: what it asks is sent side by side, and it is given the replies."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NoReturn, TypeVar

from fewshot._background_loop import side_by_side
from fewshot.errors import InputError, ServiceError
from fewshot.models.deadline import Deadline
from fewshot.types import Completion, Request

if TYPE_CHECKING:
    from fewshot.models.client import Client

__all__ = ["drive"]

T = TypeVar("T")


async def drive(
    talk: Generator[tuple[Request, ...], tuple[Completion, ...], T], client: Client, *, deadline: float
) -> T:
    """Run a conversation against a client.

    Arguments:
        deadline: a `time.monotonic()` value by which everything must be over.

    Raises:
        ServiceError: the service failed; OutputError: no answer became valid.
    """
    limit = Deadline(deadline)
    try:
        requests = next(talk)
        while True:
            try:
                replies = await _send_all(client, requests, deadline)
            except ServiceError as error:
                requests = talk.throw(error)
            else:
                requests = talk.send(replies)
            deadline = limit.at
    except StopIteration as done:
        answer: T = done.value
        return answer


async def _send_all(client: Client, requests: tuple[Request, ...], deadline: float) -> tuple[Completion, ...]:
    if len(requests) == 1:
        completion = await client.complete(requests[0], deadline=deadline)
        return (completion if isinstance(completion, Completion) else _refused(completion),)
    came: list[Completion] = []

    async def one(request: Request) -> Completion:
        completion = await client.complete(request, deadline=deadline)
        came.append(completion if isinstance(completion, Completion) else _refused(completion))
        return completion

    try:
        return tuple(await side_by_side(map(one, requests)))
    except ServiceError as error:
        error.beside = tuple(came)
        raise


def _refused(given: object) -> NoReturn:
    what = type(given).__name__
    raise InputError(f"client= gave a {what} as its answer: let `complete` give a Completion", field="client")
