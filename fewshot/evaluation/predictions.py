"""What came of one labelled row: the answer beside the right one, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fewshot.calibration.goal import Judged
from fewshot.data.labelled import Labelled
from fewshot.evaluation.parts import row_f1
from fewshot.evaluation.text_metrics import answered, exact_match, numeric_match, token_f1
from fewshot.outputs.kinds import Kind
from fewshot.outputs.output import ANSWER
from fewshot.result import Field, Result, label_of, plain

__all__ = ["CURVE", "PRIMARY", "Prediction", "judge", "plain"]

PRIMARY: Mapping[Kind, str] = {
    "labels": "accuracy",
    "label_set": "exact_match",
    "number": "numeric_match",
    "text": "exact_match",
    "schema": "exact_match",
}
"""The score of each kind of output that says whether an answer is right."""
CURVE: Mapping[Kind, str] = {**PRIMARY, "text": "token_f1", "label_set": "row_f1"}
"""The score that a curve over the number of shots shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One row and its answer, as plain JSON values; a failed row has an `error` and all its scores are 0."""

    row: int
    """Position in the data, counted from 0."""
    id: str
    inputs: Mapping[str, Any]
    truth: Any
    references: tuple[str, ...] = ()
    value: Any = None
    scores: Mapping[str, float] = field(default_factory=dict)
    """From 0 to 1 each; the first says whether the answer is right, a label that was held back included."""
    confidence: float | None = None
    probabilities: Mapping[str, float] | None = None
    """Of the labels; of a set each label's own."""
    answering: float | None = None
    """The probability that there is an answer, where there may be none."""
    fields: Mapping[str, tuple[float | None, bool]] = field(default_factory=dict)
    """Of a record for each field how sure its value was, and whether it was right; a missing field is not."""
    abstained: bool = False
    error: str | None = None

    @property
    def right(self) -> bool:
        """Whether the answer that would have been given without abstaining is right."""
        if self.probabilities and not isinstance(self.truth, list):
            return self.error is None and self.top == self.truth
        return next(iter(self.scores.values())) == 1.0

    @property
    def top(self) -> Any:
        """The answer that would have been given without abstaining, as far as it is known."""
        if self.probabilities and not isinstance(self.truth, list):
            return max(self.probabilities, key=self.probabilities.__getitem__)
        return self.value

    @property
    def chance(self) -> tuple[float, bool]:
        """The confidence in the top answer, and whether that is right; a failed row is wrong at 0."""
        if self.error is not None:
            return 0.0, False
        return self.confidence or 0.0, self.right

    @property
    def judged(self) -> Judged:
        """What a fit or a promise is judged by."""
        return Judged(*self.chance, self.probabilities, self.truth, self.fields)


def judge(kind: Kind, row: int, wanted: Labelled, result: Result[Any]) -> Prediction:
    """Compare a result with what was wanted."""
    if result.method == "together" and result.value is not None:
        result = _flat(wanted.truth, result)
    found = result.to_dict()
    failed = result.error is not None
    of_fields = _fields(found, wanted.truth) if kind == "schema" else {}
    scores = _scores(kind, wanted, result, of_fields)
    return Prediction(
        row=row,
        id=wanted.id,
        inputs={name: value for name, value in wanted.inputs.items() if value is not None},
        truth=plain(wanted.truth),
        references=wanted.references,
        value=_named(kind, result.value, found["value"]),
        scores=dict.fromkeys(scores, 0.0) if failed else scores,
        confidence=result.confidence,
        probabilities=found["probabilities"] if kind in ("labels", "label_set") else None,
        answering=(found["probabilities"] or {}).get(ANSWER) if kind == "text" else None,
        fields=of_fields,
        abstained=result.abstained,
        error=None if result.error is None else f"{type(result.error).__name__}: {result.error}",
    )


def _flat(truth: Mapping[str, Any], result: Result[Any]) -> Result[Any]:
    """Make a record of the results of several tasks, each value as its right one is written."""

    def written(true: Any, value: Any) -> Any:
        if value is None or not isinstance(true, str | tuple):
            return plain(value)
        return label_of(value) if isinstance(true, str) else [label_of(each) for each in value]

    each: Mapping[str, Result[Any]] = result.value or {}
    fields = {n: Field(value=written(truth[n], one.value), confidence=one.confidence) for n, one in each.items()}
    return replace(result, value={name: field.value for name, field in fields.items()}, fields=fields)


def _named(kind: Kind, value: Any, written: Any) -> Any:
    """Give a value as its rows have it: labels by their names."""
    if value is None or kind not in ("labels", "label_set"):
        return written
    return label_of(value) if kind == "labels" else [label_of(each) for each in value]


def _scores(
    kind: Kind, wanted: Labelled, result: Result[Any], of_fields: Mapping[str, tuple[float | None, bool]]
) -> dict[str, float]:
    value = result.value
    if kind == "labels":
        if result.probabilities:  # an answer that was held back is judged too
            value = max(result.probabilities, key=result.probabilities.__getitem__)
        return {"accuracy": float(value is not None and label_of(value) == wanted.truth)}
    if kind == "label_set":
        said, true = [label_of(each) for each in value or ()], wanted.truth
        right = value is not None and set(said) == set(true)
        return {"exact_match": float(right), "row_f1": 0.0 if value is None else row_f1(true, said)}
    if kind == "number":
        return {"numeric_match": float(numeric_match(value, wanted.truth))}
    if kind == "schema":
        whole = _same(plain(value), plain(wanted.truth))
        marks = [right for _, right in of_fields.values()] or [whole]
        return {"exact_match": float(whole), "field_accuracy": sum(marks) / len(marks)}
    references = wanted.references
    return {
        "exact_match": float(exact_match(value, references)),
        "token_f1": token_f1(value, references),
        "answerability": float(answered(value, references)),
    }


def _fields(found: Mapping[str, Any], truth: Any) -> dict[str, tuple[float | None, bool]]:
    """Judge each field of a record; those of a failed row are wrong."""
    true, said, sure = plain(truth), found["value"] or {}, found.get("fields") or {}
    if not isinstance(true, Mapping) or not isinstance(said, Mapping):
        return {}
    return {
        name: (sure.get(name, {}).get("confidence"), name in said and _same(said[name], value))
        for name, value in true.items()
    }


def _same(said: Any, true: Any) -> bool:
    """Compare JSON values; the order of a list does not count."""
    if isinstance(said, list) and isinstance(true, list):
        left = list(true)
        for each in said:
            place = next((place for place, other in enumerate(left) if _same(each, other)), None)
            if place is None:
                return False
            del left[place]
        return not left
    if isinstance(said, Mapping) and isinstance(true, Mapping):
        return said.keys() == true.keys() and all(_same(said[name], true[name]) for name in said)
    return bool(said == true) and isinstance(said, bool) == isinstance(true, bool)
