"""What today's services answer to a parameter that a model of theirs does not take, and how models word an answer.

The texts are those of public reports and of the services' documentation, one for each way to say it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

WAYS = ("label", "text", "number", "record", "votes", "bulk")
LABELS = ("positive", "negative")
RIGHT: Mapping[str, str] = {"label": "negative", "text": "A phone.", "number": "4", "record": '{"code": "123"}'}


@dataclass(frozen=True)
class Refusal:
    """A service, what it refuses of a body, and the reply."""

    service: str
    refuses: Mapping[str, Any]
    status: int
    body: Any

    def __str__(self) -> str:
        return f"{self.service}: {self.what}"

    @property
    def what(self) -> str:
        """What is refused, in a word or two."""
        ((kind, value),) = self.refuses.items()
        said = {"has": value, "role": f"the role {value}", "schema": f"the schema ({value})"}
        return str(said.get(kind, f"{kind.replace('_', ' ')} {value}"))

    def meets(self, body: Mapping[str, Any]) -> bool:
        """Tell whether a body is refused."""
        ((kind, value),) = self.refuses.items()
        if kind == "has":
            return value in body
        if kind == "tokens_below":
            given = [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body]
            return bool(given) and min(given) < value
        if kind == "tokens_above":
            return (body.get("max_tokens") or body.get("max_completion_tokens") or 0) > value
        if kind == "temperature_not":
            return bool(body.get("temperature", value) != value)
        if kind == "temperature_not_positive":
            return not body.get("temperature", 1) > 0
        if kind == "top_logprobs_above":
            return (body.get("top_logprobs") or 0) > value
        if kind == "schema":
            return "response_format" in body
        roles = [turn["role"] for turn in body.get("messages", ())]
        if kind == "role":
            return value in roles
        assert kind == "turns"
        return "system" in roles or any(one == other for one, other in pairwise(roles))


def read_refusals(path: Path) -> tuple[Refusal, ...]:
    """Read a table of refusals, one JSON object a line."""
    return tuple(Refusal(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())


REFUSALS = read_refusals(Path(__file__).with_name("refusals.jsonl"))


def fault(status: int, body: Any) -> tuple[int, dict[str, str], bytes]:
    """Give a reply as the fault server plays it."""
    return status, {}, json.dumps(body).encode()


def kind_of(body: Mapping[str, Any]) -> str:
    """Tell which of the four tasks asks."""
    asked = str(body["messages"])
    return next(kind for kind in RIGHT if f"Task {kind}." in asked)


def listed(*shares: tuple[str, float], first: str | None = None) -> dict[str, Any]:
    """Give log-probabilities as a chat lists them: of one place, the likeliest first."""
    top = [{"token": token, "logprob": logprob, "bytes": list(token.encode())} for token, logprob in shares]
    return {"content": [{**top[0], "token": first or top[0]["token"], "top_logprobs": top}]}


_IDS = itertools.count()
"""A service gives each reply an id of its own; one that comes twice is taken for a late answer and asked again."""


def chat(
    text: str | None, finish_reason: str = "stop", logprobs: Any = None, **message: Any
) -> tuple[int, dict[str, str], bytes]:
    """Give a good reply."""
    said = {"role": "assistant", "content": text, **message}
    choice = {"index": 0, "message": said, "finish_reason": finish_reason, "logprobs": logprobs}
    usage = {"prompt_tokens": 9, "completion_tokens": 3}
    return fault(200, {"id": f"x{next(_IDS)}", "model": "m", "choices": [choice], "usage": usage})
