"""Asking for decisions instead of text: typed questions in, a distribution over the choices of each out.

OpenAI's `/v1/decisions` (beta since October 2026), the only wire of this sort that is spoken. Our shots go into the
input as turns; the question is the task's instruction with the labels as choices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from fewshot.models.wire.response import Reply, read_json, read_usage, rubbish
from fewshot.types import Completion, Decision, Message, Request

__all__ = ["decision_body", "read_decision"]

_ONE = 1.001
"""The highest probability that is taken: a server's softmax in single precision may round to more than 1."""


def decision_body(request: Request) -> bytes:
    """Give the body that asks for one of `request.choices`, or all of `request.questions`."""
    turns = [turn for turn in request.chat if turn.role not in ("system", "developer")]
    instruction = "\n".join(turn.content for turn in request.chat if turn not in turns)
    told = instruction or "Choose what fits the last message, as in the examples."
    questions = [_question("label", told, request.choices)] if request.choices else []
    questions += [_question(q.name, f"{instruction}\n{q.instructions}".lstrip(), q.choices) for q in request.questions]
    body = {"model": request.model, "input": [_turn(turn) for turn in turns], "questions": questions}
    return json.dumps(body, ensure_ascii=False).encode()


def _question(name: str, instructions: str, choices: Sequence[tuple[str, str]]) -> dict[str, Any]:
    if not choices:
        return {"type": "predicate", "name": name, "instructions": instructions}
    listed = [{"value": value, "description": about} if about else {"value": value} for value, about in choices]
    return {"type": "choice", "name": name, "instructions": instructions, "choices": listed}


def read_decision(reply: Reply, request: Request, *, attempts: int) -> Completion:
    """Read the distribution, or one for each question; a refusal of any has that as its finish reason.

    Raises:
        ServiceError: the reply holds no decision among the choices.
    """
    envelope = read_json(reply)
    answers = envelope.get("answers")
    asked = request.questions or (Decision("", "", request.choices),)
    if not isinstance(answers, list) or len(answers) != len(asked) or not all(isinstance(a, dict) for a in answers):
        rubbish(f"not {len(asked)} decisions" if len(asked) > 1 else "not one decision")
    answers = _in_order(answers, asked)
    refused = any(decision.get("type") == "refusal" for decision in answers)
    found = {} if refused else {q.name: _decided(given, q) for given, q in zip(answers, asked, strict=True)}
    probabilities = None if refused else found if request.questions else found[""]
    return Completion(
        text=json.dumps({name: _best(one) for name, one in found.items()}, ensure_ascii=False)
        if request.questions
        else ""
        if probabilities is None
        else _best(probabilities),
        finish_reason="refusal" if refused else "stop",
        probabilities=probabilities,
        usage=read_usage(envelope, request),
        model=str(envelope.get("model") or ""),
        id=str(envelope.get("id") or ""),
        request_id=reply.headers.get("x-request-id"),
        attempts=attempts,
    )


def _in_order(answers: list[dict[str, Any]], asked: Sequence[Decision]) -> list[dict[str, Any]]:
    """Pair answers with questions: by their names where they have any, else in the order in which they were asked."""
    names = [answer.get("name") for answer in answers]
    named = {name if isinstance(name, str) else None: answer for name, answer in zip(names, answers, strict=True)}
    if len(asked) == 1 or named.keys() == {None}:
        return answers
    if named.keys() != {question.name for question in asked}:
        rubbish("decisions on other questions than were asked")
    return [named[question.name] for question in asked]


def _decided(decision: dict[str, Any], question: Decision) -> Any:
    """Give the distribution over a question's choices; without any the probability that it is so."""
    if question.choices:
        return _distribution(decision, [value for value, _ in question.choices])
    found = decision.get("probability")
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= _ONE:
        rubbish("a decision without a probability")
    return min(float(found), 1.0)


def _best(found: Any) -> Any:
    return max(found, key=found.__getitem__) if isinstance(found, dict) else found >= 0.5


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
