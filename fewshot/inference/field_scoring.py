"""The fields of a record: how likely each value of a closed one was, read from its own tokens in the JSON written.

What was written before a field is given, as it is for the model. A field whose values hold too little of the
probability at its place has none, as one has where no log-probabilities come. On a decisions endpoint a record of
closed fields alone is one request with a question a field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from fewshot.errors import OutputError
from fewshot.inference.label_tree import mean_logprob
from fewshot.outputs.fields import RecordField, places_in
from fewshot.result import Field, plain
from fewshot.types import Completion, Decision, TokenLogprob

if TYPE_CHECKING:
    from fewshot.inference.question import Answer, Question
    from fewshot.outputs.output import Output
    from fewshot.result import Result

    A = TypeVar("A", Answer, Result[Any])

__all__ = ["as_given", "chances_by_json", "decided_record", "decisions_of_fields", "fitted", "read_fields", "refitted"]

_GATE = 0.4
"""Share of the probability that a field's values must hold at its place, as labels must in a chat."""
_LEAST = 1e-9


def read_fields(output: Output[Any], completion: Completion) -> dict[str, Field] | None:
    """Read every field of a record that was written; None where no log-probabilities came."""
    tokens = completion.tokens
    if not output.fields or not tokens or b"".join(t.token for t in tokens) != completion.text.encode():
        return None
    places = places_in(completion.text)
    ends = [0]
    for token in tokens:
        ends.append(ends[-1] + len(token.token))
    found = {}
    for field in output.fields:
        if field.name not in places:
            continue
        start, end = places[field.name]
        first = next(n for n in range(len(tokens)) if ends[n + 1] > start)
        own = [token for n, token in enumerate(tokens) if ends[n] < end and ends[n + 1] > start]
        value = json.loads(completion.text.encode()[start:end])
        chances = _chances(tokens[first:], start - ends[first], field) if field.values else None
        mean = mean_logprob(own)
        sure = None if mean is None else math.exp(mean)
        found[field.name] = _field(field, value, chances, sure)
    return found


def chances_by_json(fields: Mapping[str, Field] | None) -> dict[str, dict[str, float]]:
    """Give the probabilities of closed fields under their values as JSON writes them."""
    return {
        name: {json.dumps(value): p for value, p in field.probabilities.items()}
        for name, field in (fields or {}).items()
        if field.probabilities is not None
    }


def fitted(question: Question, answer: Answer) -> Answer:
    """Give a record by the fit of its fields that is in force, if it was fitted on answers that came in this way."""
    calibration = question.calibration
    if calibration is None or not answer.fields or (question.decides and answer.method != "decisions"):
        return answer
    parts = dict(calibration.parts)
    found = {
        name: parts[name].apply({value: math.log(max(p, _LEAST)) for value, p in chances.items()})
        for name, chances in chances_by_json(answer.fields).items()
        if name in parts
    }
    return replace(refitted(question.output, answer, found), calibration=calibration.name)


def refitted(output: Output[Any], answer: A, found: Mapping[str, Mapping[str, float]]) -> A:
    """Give a record the likeliest value of each field by other probabilities; its own where those do not make a record.

    Arguments:
        answer: one with `fields`; its confidence becomes the product of theirs.
        found: for some of the closed fields the probability of each value, as JSON writes it.
    """
    fields: dict[str, Field] = dict(answer.fields or {})
    told = {name: {json.loads(value): p for value, p in chances.items()} for name, chances in found.items()}
    likeliest = {name: max(chances, key=chances.__getitem__) for name, chances in told.items()}
    changed = {n: v for n, v in likeliest.items() if told[n][v] > told[n].get(fields[n].value, 0.0)}
    record = answer.value
    try:
        record = output.parse_json(json.dumps(plain(record) | changed)) if changed else record
    except OutputError:
        changed = {}
    for field in output.fields:
        if field.name in told:
            was = fields[field.name].value
            new = _field(field, changed.get(field.name, was), told[field.name], None)
            fields[field.name] = replace(new, written=json.dumps(was) if field.name in changed else None)
    return replace(answer, value=record, fields=fields, confidence=_together(fields))


def _together(fields: Mapping[str, Field]) -> float:
    return math.prod(field.confidence or 0.0 for field in fields.values())


def as_given(fields: Mapping[str, Field] | None, value: Any) -> dict[str, Field] | None:
    """Give the fields as the record has them: spans with their places, private data put back."""
    written = plain(value) if fields else {}
    return fields and {  # type: ignore[return-value]  # None stays None
        name: replace(field, value=written[name]) if isinstance(field.value, str | dict | list) else field
        for name, field in fields.items()
        if name in written
    }


def _field(field: RecordField, value: Any, chances: Mapping[Any, float] | None, sure: float | None) -> Field:
    expected = math.fsum(v * p for v, p in chances.items()) if chances and field.ordered else None
    confidence = sure if chances is None else chances.get(value)
    return Field(value=value, probabilities=chances, confidence=confidence, expected=expected)


def _chances(tokens: Sequence[TokenLogprob], skip: int, field: RecordField) -> dict[Any, float] | None:
    """Give the probability of each value of a closed field; None where the tokens do not tell.

    Arguments:
        tokens: from that in which the value begins.
        skip: bytes of that token which stand before the value.
    """
    spelled = {json.dumps(value, ensure_ascii=False).encode(): value for value in field.values}
    mass = dict.fromkeys(spelled, 0.0)
    written, share, before = b"", 1.0, tokens[0].token[:skip]
    for token in tokens:
        shared = False
        for other, logprob in token.top or ((token.token, token.logprob),):
            text = written + other[len(before) :] if other.startswith(before) else b"\0"
            begun = [literal for literal in spelled if literal.startswith(text)]
            done = [
                literal for literal in spelled if text.startswith(literal) and text[len(literal) :][:1] in b",}] \r\n\t"
            ]
            if other == token.token and (len(begun) > 1 or (begun and begun[0] != text and not text.strip(b'" '))):
                shared, on = True, share * math.exp(logprob)
            elif len(begun) == 1:
                mass[begun[0]] += share * math.exp(logprob)
            elif done and not begun:
                mass[max(done, key=len)] += share * math.exp(logprob)
        if not shared:
            break
        written, share, before = written + token.token[len(before) :], on, b""
    total = math.fsum(mass.values())
    if total < _GATE:
        return None
    bounded = {spelled[literal]: max(m, _LEAST) for literal, m in mass.items()}
    total = math.fsum(bounded.values())
    return {value: m / total for value, m in bounded.items()}


def decisions_of_fields(output: Output[Any]) -> tuple[Decision, ...]:
    """Ask for the value of each field, in one request."""
    return tuple(
        Decision(
            field.name,
            f"What is {field.name!r}?" + (f" {field.about}" if field.about else ""),
            tuple((_shown(value), "") for value in field.values),
        )
        for field in output.fields
    )


def decided_record(question: Question, given: Mapping[str, Any]) -> Answer | None:
    """Make a record of the likeliest values; None where these together are none, so that one is to be written."""
    from fewshot.inference.question import Answer

    fields = {}
    for field in question.output.fields:
        chances = {value: given[field.name][_shown(value)] for value in field.values}
        fields[field.name] = _field(field, max(chances, key=chances.__getitem__), chances, None)
    try:
        value = question.output.parse_json(json.dumps({name: field.value for name, field in fields.items()}))
    except OutputError:
        return None
    return Answer(value=value, method="decisions", confidence=_together(fields), fields=fields)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
