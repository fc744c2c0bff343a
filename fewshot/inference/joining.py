"""Several questions over one input made into one request, where an endpoint decides: the questions of tasks together.

Each task's instruction and shots become the instructions of its own questions, and the input is what they are asked of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fewshot.models.client import Client, ClientWrapper
from fewshot.types import Completion, Decision, Request, Usage

__all__ = ["JoiningClient", "joined"]


def joined(requests: Sequence[Request]) -> Request:
    """Make one request for decisions of several; the names of their questions begin with their places."""
    messages = tuple(dict.fromkeys(turn for request in requests for turn in request.messages))
    questions: list[Decision] = []
    for place, request in enumerate(requests):
        told = "\n".join(turn.content for turn in request.prefix.messages)
        questions += [Decision(f"{place}", told, request.choices)] if request.choices else []
        questions += [
            Decision(f"{place}.{q.name}", f"{told}\n{q.instructions}".lstrip(), q.choices) for q in request.questions
        ]
    return Request(model=requests[0].model, messages=messages, questions=tuple(questions))


def _parted(completion: Completion, requests: Sequence[Request]) -> list[Completion]:
    """Give each request its part of the answer, and an even share of what it took."""
    found: dict[str, Any] = dict(completion.probabilities or {})
    used, count = completion.usage, len(requests)
    parts = []
    for place, request in enumerate(requests):
        first = place == 0
        own = (
            found.get(str(place))
            if request.choices
            else {q.name: found.get(f"{place}.{q.name}") for q in request.questions}
        )
        share = Usage(
            *(
                total // count + (total % count if first else 0)
                for total in (used.input_tokens, used.output_tokens, used.cached_tokens)
            )
        )
        attempts = completion.attempts if first else 0
        parts.append(replace(completion, probabilities=own if found else None, usage=share, attempts=attempts))
    return parts


class JoiningClient(ClientWrapper):
    """Holds requests for decisions back until all that will come have come, and sends them as one.

    Arguments:
        expected: how many come, side by side.
    """

    def __init__(self, client: Client, expected: int) -> None:
        super().__init__(client)
        self._expected = expected
        self._deadline: float | None = None
        self._waiting: list[tuple[Request, asyncio.Future[Completion]]] = []

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        """Answer a request; one for decisions waits for the others."""
        if not request.decides or not self._expected:
            return await self.ask(request, deadline)
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        self._deadline = deadline
        if len(self._waiting) == self._expected:
            self._expected = 0
            await self._send()
        return await answer

    async def leave(self) -> None:
        """Wait no longer for one that has come to its end, be it without having asked."""
        if self._expected:
            self._expected -= 1
            if self._waiting and len(self._waiting) == self._expected:
                self._expected = 0
                await self._send()

    async def _send(self) -> None:
        requests = [request for request, _ in self._waiting]
        try:
            parts = _parted(await self.ask(joined(requests), self._deadline), requests)
        except BaseException as error:
            for _, answer in self._waiting:
                if not answer.done():  # a call that was cancelled waits no longer
                    answer.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, answer), part in zip(self._waiting, parts, strict=True):
            if not answer.done():
                answer.set_result(part)
