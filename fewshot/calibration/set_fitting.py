"""Fit the labels of a set, or the fields of a record, on labelled rows: each is a question of its own.

A label's calibration is chosen as that of two labels is (`fitting.fit`), a field's as that of its values. The threshold
of a label is the one with the best expected F1, worked out from the held-out probabilities themselves (Lewis 1995,
SIGIR): they are calibrated, and a threshold that is fitted to the few rows that have a rare label would be luck.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from fewshot.calibration.abstention import recall_threshold_for, threshold_for
from fewshot.calibration.calibration import Calibration, Output
from fewshot.calibration.fitting import Fitted, Trial, fit
from fewshot.calibration.goal import Goal
from fewshot.calibration.ridge import Features
from fewshot.errors import InputError

__all__ = ["fit_fields", "fit_set"]

Scores = Mapping[str, float]
YES, NO = "yes", "no"
_FEWEST = 3
"""Rows that must have a label, and that must not, before anything but its share is fitted."""
_FEWEST_ROWS = 10
"""Rows that must have a field's probabilities before these are calibrated."""


def fit_set(
    chances: Sequence[Scores],
    truths: Sequence[Collection[str]],
    labels: Sequence[str],
    *,
    wide: Sequence[Sequence[Scores]] = (),
    goal: Goal | None = None,
) -> Fitted:
    """Fit every label of a set on labelled rows.

    Arguments:
        chances: for each row what `both_ways` gives of the labels' probabilities.
        truths: for each row the labels that it has.
        wide: further features, as for `fit`.
        goal: the recall or the precision of some labels that their thresholds are to promise.

    Returns:
        One calibration of all labels; `held_out` holds the probability of every label for each row.
    """
    outputs: list[Output] = []
    trials: list[Trial] = []
    held_out: list[dict[str, float]] = [{} for _ in truths]
    blocks, shares = [Features(block) for block in wide], {}
    bound = Calibration(rows=len(truths))
    for label in labels:
        has = [label in truth for truth in truths]
        shares[label] = (sum(has) + 0.5) / (len(has) + 1)
        if min(sum(has), len(has) - sum(has)) < _FEWEST:
            outputs.append(Output(label, math.log(shares[label] / (1 - shares[label]))))
            chance = bound.bounded({YES: shares[label], NO: 1 - shares[label]})[YES]
            for row in held_out:
                row[label] = chance
            continue
        scores = [{YES: row[label], NO: row[f"not {label}"]} for row in chances]
        fitted = fit(scores, [YES if one else NO for one in has], wide=blocks)
        found = [row[YES] for row in fitted.held_out]
        chosen = next(t for t in fitted.trials if t.name == fitted.calibration.name)
        trials.append(replace(chosen, name=f"{label}: {chosen.name}"))
        outputs.append(replace(_joined(label, fitted.calibration), least=_least(label, found, has, goal)))
        for row, chance in zip(held_out, found, strict=True):
            row[label] = chance
    calibration = Calibration("by label", tuple(outputs), independent=True, rows=bound.rows)
    return Fitted(calibration, tuple(trials), tuple(held_out), shares)


def fit_fields(
    chances: Sequence[Mapping[str, Scores]], truths: Sequence[Mapping[str, str]]
) -> tuple[Fitted, list[dict[str, Scores]]]:
    """Fit each closed field of a record on labelled rows.

    Arguments:
        chances: for each row and field the probability of every value, as JSON writes it; fields without any left out.
        truths: for each row the right value of each field, written alike.

    Returns:
        One calibration of all fields that enough rows have, and for each row and field the probabilities from one that
        was fitted without the row.
    """
    parts, trials = [], []
    held_out: list[dict[str, Scores]] = [{} for _ in truths]
    for name in dict.fromkeys(name for row in chances for name in row):
        known = [
            n
            for n, (row, truth) in enumerate(zip(chances, truths, strict=True))
            if truth.get(name) in row.get(name, ())
        ]
        if len(known) < _FEWEST_ROWS:
            continue
        logs = [{value: math.log(max(p, 1e-12)) for value, p in chances[n][name].items()} for n in known]
        fitted = fit(logs, [truths[n][name] for n in known])
        for n, row in zip(known, fitted.held_out, strict=True):
            held_out[n][name] = row
        parts.append((name, fitted.calibration))
        chosen = next(t for t in fitted.trials if t.name == fitted.calibration.name)
        trials.append(replace(chosen, name=f"{name}: {chosen.name}"))
    whole = Fitted(Calibration("by field", parts=tuple(parts)), tuple(trials), tuple({} for _ in truths), {})
    return whole, held_out


def _joined(label: str, calibration: Calibration) -> Output:
    """Make one score of those of yes and no: the softmax of two is the logistic function of their difference."""
    yes, no = ({o.label: o for o in calibration.outputs}[answer] for answer in (YES, NO))
    weights = dict(yes.weights)
    for name, weight in no.weights:
        weights[name] = weights.get(name, 0.0) - weight
    named = {{YES: label, NO: f"not {label}"}.get(name, name): weight for name, weight in weights.items()}
    return Output(label, yes.bias - no.bias, tuple(named.items()))


def _least(label: str, chances: Sequence[float], has: Sequence[bool], goal: Goal | None) -> float:
    """Find the probability from which on a label is given."""
    recall, precision = (goal.recall or {}, goal.precision or {}) if goal else ({}, {})
    promised = None
    if goal and label in recall:
        promised = recall_threshold_for(recall[label], label, chances, has, confidence=goal.confidence)
    elif goal and label in precision:
        promised = threshold_for(1 - precision[label], chances, has, confidence=goal.confidence)
    if promised and promised.reason:
        raise InputError(f"nothing can be promised of {label!r}: {promised.reason}")
    if promised:
        return promised.threshold
    expected, best, least = sum(chances), 0.0, 1.0
    hits = 0.0
    for place, chance in enumerate(sorted(chances, reverse=True), start=1):
        hits += chance
        if (f1 := 2 * hits / (expected + place)) > best:
            best, least = f1, chance
    return least
