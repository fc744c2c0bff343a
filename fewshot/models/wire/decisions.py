"""Asking for a decision instead of text: a typed question in, a distribution over its choices out.

OpenAI's `/v1/decisions` (beta since October 2026), the only wire of this sort that is spoken. Our shots go into the
input as turns; the question is the task's instruction with the labels as choices.
"""

from __future__ import annotations

import json
import math
from typing import Any

from fewshot.models.wire.response import Reply, read_json, read_usage, rubbish
from fewshot.types import Completion, Message, Request

__all__ = ["decision_body", "read_decision"]

_ONE = 1.001
"""The highest probability that is taken: a server's softmax in single precision may round to more than 1."""


def decision_body(request: Request) -> bytes:
    """Give the body that asks for one of `request.choices`."""
    turns = [turn for turn in request.chat if turn.role not in ("system", "developer")]
    instruction = "\n".join(turn.content for turn in request.chat if turn not in turns)
    question = {
        "type": "choice",
        "name": "label",
        "instructions": instruction or "Choose what fits the last message, as in the examples.",
        "choices": [{"value": v, "description": about} if about else {"value": v} for v, about in request.choices],
    }
    body = {"model": request.model, "input": [_turn(turn) for turn in turns], "questions": [question]}
    return json.dumps(body, ensure_ascii=False).encode()


def read_decision(reply: Reply, request: Request, *, attempts: int) -> Completion:
    """Read the distribution; a refusal has that as its finish reason.

    Raises:
        ServiceError: the reply holds no decision among the choices.
    """
    envelope = read_json(reply)
    answers = envelope.get("answers")
    if not isinstance(answers, list) or len(answers) != 1 or not isinstance(answers[0], dict):
        rubbish("not one decision")
    decision: dict[str, Any] = answers[0]
    refused = decision.get("type") == "refusal"
    probabilities = None if refused else _distribution(decision, [value for value, _ in request.choices])
    return Completion(
        text="" if probabilities is None else max(probabilities, key=probabilities.__getitem__),
        finish_reason="refusal" if refused else "stop",
        probabilities=probabilities,
        usage=read_usage(envelope),
        model=str(envelope.get("model") or ""),
        request_id=reply.headers.get("x-request-id"),
        attempts=attempts,
    )


def _turn(turn: Message) -> dict[str, Any]:
    if turn.role == "assistant":
        return {"role": "assistant", "content": [{"type": "output_text", "text": turn.content}]}
    return {"role": turn.role, "content": turn.content}


def _distribution(decision: dict[str, Any], choices: list[str]) -> dict[str, float]:
    listed = decision.get("probabilities")
    if not isinstance(listed, list):
        rubbish("a decision without probabilities")
    items = [item for item in listed if isinstance(item, dict)]
    found = {item["value"]: item.get("probability") for item in items if isinstance(item.get("value"), str)}
    values = [found.get(choice) for choice in choices]
    if not all(isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p <= _ONE for p in values):
        rubbish("a decision that leaves out a choice, or gives it no probability")
    total = math.fsum(p for p in values if p is not None)
    if total <= 0:
        rubbish("a decision without probabilities")
    return {choice: (p or 0.0) / total for choice, p in zip(choices, values, strict=True)}
