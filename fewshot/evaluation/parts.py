"""Figures for the parts of an answer: each label of a set, and all together; spans; each field of a record."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fewshot.evaluation.metrics import auroc, ece

__all__ = ["by_label", "label_ece", "macro_f1_of_sets", "micro_f1", "of_field", "overlap_f1", "row_f1", "spans_in"]

Sets = Sequence[Collection[str]]
Entity = tuple[str, int, int]
"""The label of a span, its start and its end."""


def row_f1(truth: Collection[str], said: Collection[str]) -> float:
    """Give the F1 of one row's set; two empty ones are the same."""
    return 2 * len(set(truth) & set(said)) / (len(truth) + len(said)) if truth or said else 1.0


def micro_f1(truths: Sequence[Collection[Any]], said: Sequence[Collection[Any]]) -> float:
    """Give the F1 over all pairs of a row and a label or a span; where nothing is right and nothing said, it is 1."""
    pairs = sum(len(truth) + len(given) for truth, given in zip(truths, said, strict=True))
    return 2 * sum(len(set(t) & set(g)) for t, g in zip(truths, said, strict=True)) / pairs if pairs else 1.0


def spans_in(value: Any) -> set[Entity]:
    """Give every span in a value as JSON has it."""
    if isinstance(value, Mapping):
        if value.keys() == {"label", "text", "start", "end"}:
            return {(value["label"], value["start"], value["end"])}
        value = list(value.values())
    return {span for item in value for span in spans_in(item)} if isinstance(value, list) else set()


def overlap_f1(truths: Sequence[set[Entity]], said: Sequence[set[Entity]]) -> float:
    """Give the F1 of all spans of all rows, where a right one has label and a character of one of the other side."""

    def met(ours: set[Entity], theirs: set[Entity]) -> int:
        return sum(any(a == b and s < t and u < e for b, u, t in theirs) for a, s, e in ours)

    pairs = sum(len(truth) + len(given) for truth, given in zip(truths, said, strict=True))
    return sum(met(t, g) + met(g, t) for t, g in zip(truths, said, strict=True)) / pairs if pairs else 1.0


def macro_f1_of_sets(truths: Sets, said: Sets) -> float:
    """Give the unweighted mean of the labels' F1, over the labels that some row has or was given."""
    labels = {label for each in (*truths, *said) for label in each}
    return sum(_counted(label, truths, said)[2] for label in labels) / len(labels) if labels else 1.0


def label_ece(truths: Sets, chances: Sequence[Mapping[str, float]]) -> float:
    """Give the mean over labels of the calibration error of a label's own probability, over all rows."""
    found = [ece([row[la] for row in chances], [la in truth for truth in truths]) for la in chances[0]]
    return sum(found) / len(found)


def by_label(
    labels: Sequence[str], truths: Sets, said: Sets, chances: Sequence[Mapping[str, float] | None]
) -> dict[str, dict[str, Any]]:
    """Give for each label its precision, recall, F1, calibration error and the rows that have it.

    The calibration error is over the rows that have probabilities, and None where there are none.
    """
    known = [(row, truth) for row, truth in zip(chances, truths, strict=True) if row]
    found = {}
    for label in labels:
        precision, recall, f1 = _counted(label, truths, said)
        error = ece([row[label] for row, _ in known], [label in truth for _, truth in known]) if known else None
        rows = sum(label in truth for truth in truths)
        found[label] = {"precision": precision, "recall": recall, "f1": f1, "ece": error, "rows": rows}
    return found


def of_field(judged: Sequence[tuple[float | None, bool]]) -> dict[str, Any]:
    """Give the accuracy of a field, and AUROC and ECE of its confidence over the rows that have one."""
    known = [(sure, right) for sure, right in judged if sure is not None]
    sure, right = [one for one, _ in known], [one for _, one in known]
    return {
        "accuracy": sum(right for _, right in judged) / len(judged),
        "auroc": auroc(sure, right) if known else None,
        "ece": ece(sure, right) if known else None,
        "rows": len(judged),
    }


def _counted(label: str, truths: Sets, said: Sets) -> tuple[float, float, float]:
    """Give precision, recall and F1 of one label; 0 where there is nothing to count."""
    true, given = sum(label in truth for truth in truths), sum(label in each for each in said)
    hits = sum(label in truth and label in each for truth, each in zip(truths, said, strict=True))
    return hits / max(given, 1), hits / max(true, 1), 2 * hits / max(true + given, 1)
