"""So many requests and no more, none of them sent twice: what a search may spend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from fewshot.errors import ServiceError
from fewshot.models.cache import is_complete
from fewshot.models.client import Client, ClientWrapper
from fewshot.types import Completion, Request

__all__ = ["SPENT", "Allowance"]

SPENT = "requests_spent"
"""The `code` of the ServiceError for a request that was not sent because the allowance is spent."""

Embed = Callable[..., Awaitable[list[Sequence[float]]]]


class Allowance(ClientWrapper):
    """Stands before a client for one search: remembers complete answers, counts the others, and refuses beyond a limit.

    Answers that the client takes from a cache of its own are not counted; a request for vectors counts as one.
    """

    def __init__(self, client: Client, limit: int | None = None) -> None:
        """Wrap a client that may be sent `limit` requests, by default any number."""
        super().__init__(client)
        self.limit = limit
        self.sent = 0
        self.paid: list[Completion] = []
        self._answers: dict[Request, Completion] = {}
        self._vectors: dict[tuple[str | None, str], Sequence[float]] = {}

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        return partial(self._embed, found) if name == "embed" else found

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        """Answer from memory, or by asking.

        Raises:
            ServiceError: the allowance is spent (its code is `SPENT`), or no answer came.
        """
        known = self._answers.get(request)
        if known is not None:
            return replace(known, cached=True, attempts=0)
        self._take(request)
        completion = await self.ask(request, deadline)
        if completion.cached:
            self.sent -= 1
        else:
            self.paid.append(completion)
        if is_complete(request, completion):
            self._answers[request] = completion
        return completion

    async def _embed(
        self, embed: Embed, texts: Sequence[str], *, model: str | None = None, deadline: float | None = None
    ) -> list[Sequence[float]]:
        """Give a vector for each text, those that were had before from memory."""
        missing = [text for text in dict.fromkeys(texts) if (model, text) not in self._vectors]
        if missing:
            self._take(None)
            found = await embed(missing, model=model, deadline=deadline)
            self._vectors |= {(model, text): vector for text, vector in zip(missing, found, strict=True)}
        return [self._vectors[model, text] for text in texts]

    def _take(self, request: Request | None) -> None:
        if self.limit is not None and self.sent >= self.limit:
            # `account` ends a bulk run at once: no other row could be asked either.
            message = f"all {self.limit:,} requests of the budget are spent: give a larger one"
            raise ServiceError(message, code=SPENT, account=True, request=request)
        self.sent += 1
