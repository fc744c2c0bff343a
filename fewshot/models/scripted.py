"""A client that answers from a script, for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Callable

from fewshot.errors import ConfigError
from fewshot.types import Completion, Request

__all__ = ["ScriptedClient"]

Answer = str | Completion | Exception


class ScriptedClient:
    """Answers from a script, for tests; `requests` holds what was asked.

        client = ScriptedClient("positive", "negative")           # one answer after the other
        client = ScriptedClient(lambda request: "positive")       # or worked out from the request

    An answer is a text, a `Completion`, or an exception to raise.
    """

    def __init__(self, *answers: Answer | Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        self._answers = answers

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:  # noqa: ARG002
        """Give the next answer of the script; a function answers for good.

        Raises:
            ConfigError: the script is at its end.
        """
        self.requests.append(request)
        if not self._answers:
            raise ConfigError(f"the script has no answer to request {len(self.requests)}: give ScriptedClient another")
        answer = self._answers[0]
        if callable(answer):
            answer = answer(request)
        else:
            self._answers = self._answers[1:]
        if isinstance(answer, Exception):
            raise answer
        return Completion(text=answer, model=request.model) if isinstance(answer, str) else answer
