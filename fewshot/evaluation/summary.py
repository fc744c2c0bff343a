"""Which figures tell how good a run was, by the kind of its output; each with its 95% interval.

A failed row is wrong in all of them and never left out: it counts as confidence 0, and as an even guess where a
probability is judged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import variance
from typing import Any

from fewshot.errors import ConfigError
from fewshot.evaluation.intervals import Figure, average, bootstrap, mean, t_quantile
from fewshot.evaluation.metrics import auroc, brier_of, ece, macro_f1, nll_of, over, reliability
from fewshot.evaluation.parts import label_ece, macro_f1_of_sets, micro_f1, overlap_f1, spans_in
from fewshot.evaluation.predictions import PRIMARY, Prediction
from fewshot.evaluation.text_metrics import chrf, rouge
from fewshot.outputs.kinds import Kind

__all__ = ["calibration_error", "figures", "of_draws"]

_WORK = 300_000
"""Rows that are resampled for one figure, all samples together: many rows need fewer samples."""


def figures(
    kind: Kind, predictions: Sequence[Prediction], *, optional: bool = False
) -> tuple[dict[str, Figure], list[str]]:
    """Measure a run.

    Arguments:
        kind: of the output.
        optional: whether "no answer" can be right.

    Returns:
        Figures by name, and notes on what could not be measured.
    """
    names = [n for n in predictions[0].scores if optional or n != "answerability"]
    found = {name: _measure([p.scores[name] for p in predictions]) for name in names}
    if kind == "labels":
        pairs = [(p.truth, None if p.error else p.top) for p in predictions]
        found["macro_f1"] = _measure(pairs, over(macro_f1))
        found |= _of_probabilities(predictions)
    elif kind == "label_set":
        found |= _of_sets(predictions)
    elif kind == "schema":
        found |= _of_spans(predictions)
    elif kind == "text" and optional:
        found |= _of_unanswerable(predictions)
    if kind != "text" or optional:
        found |= _of_confidence(predictions)
    if any(p.abstained for p in predictions):
        given = [p for p in predictions if not p.abstained]
        found["coverage"] = _measure([float(not p.abstained) for p in predictions])
        if given:
            found[f"{PRIMARY[kind]}_given"] = _measure([p.scores[PRIMARY[kind]] for p in given])
    return (found, []) if kind != "text" or optional else _of_wording(predictions, found)


def of_draws(scores: Sequence[Sequence[float]]) -> Figure:
    """Average a score from 0 to 1 over draws of shots, with an interval over both draws and rows.

    The spread of a few draws is held against Student's t, that of the rows against the normal distribution.

    Arguments:
        scores: for each draw the score of each row, in the same order.
    """
    if all(run == scores[0] for run in scores):  # one draw, or draws that make no difference
        return _measure(scores[0])
    draws, rows = [mean(run) for run in scores], [mean(row) for row in zip(*scores, strict=True)]
    value = mean(draws)
    of_draw = t_quantile(0.975, len(draws) - 1) ** 2 * variance(draws) / len(draws)
    reach = math.sqrt(of_draw + (1.96**2 * variance(rows) / len(rows) if len(rows) > 1 else 0.0))
    return Figure(value, max(0.0, value - reach), min(1.0, value + reach))


def _measure(rows: Sequence[Any], statistic: Callable[[Sequence[Any]], float] | None = None) -> Figure:
    """Measure a statistic of rows; by default the mean of scores from 0 to 1."""
    samples = _samples(len(rows))
    return average(rows, samples=samples) if statistic is None else bootstrap(rows, statistic, samples=samples)


def _samples(rows: int) -> int:
    return max(100, min(1000, _WORK // max(rows, 1)))


def _of_spans(predictions: Sequence[Prediction]) -> dict[str, Figure]:
    """Measure the spans of all rows together, where there are any."""
    pairs = [(spans_in(p.truth), set() if p.error else spans_in(p.value)) for p in predictions]
    if not any(true or said for true, said in pairs):
        return {}
    return {"entity_f1": _measure(pairs, over(micro_f1)), "entity_f1_overlap": _measure(pairs, over(overlap_f1))}


def _of_probabilities(predictions: Sequence[Prediction]) -> dict[str, Figure]:
    labels = next((list(p.probabilities) for p in predictions if p.probabilities), None)
    if labels is None:
        return {}
    even = dict.fromkeys(labels, 1 / len(labels))
    rows = [(p.truth, p.probabilities or even) for p in predictions]
    return {
        "nll": _measure([nll_of(*row) for row in rows], mean),
        "brier": _measure([brier_of(*row) for row in rows], mean),
    }


def _of_sets(predictions: Sequence[Prediction]) -> dict[str, Figure]:
    pairs = [(p.truth, p.value or []) for p in predictions]
    found = {"micro_f1": _measure(pairs, over(micro_f1)), "macro_f1": _measure(pairs, over(macro_f1_of_sets))}
    known = [(p.truth, p.probabilities) for p in predictions if p.probabilities]
    return found | ({"label_ece": _measure(known, over(label_ece))} if known else {})


def _of_confidence(predictions: Sequence[Prediction]) -> dict[str, Figure]:
    if all(p.confidence is None for p in predictions):
        return {}
    pairs = [p.chance for p in predictions]
    return {
        "ece": calibration_error(pairs),
        "ece_by_chance": _by_chance([sure for sure, _ in pairs]),
        "auroc": _measure(pairs, over(auroc)),
    }


def _by_chance(confidences: Sequence[float]) -> Figure:
    """Tell what ECE would be on these rows if every confidence were exactly right, with the range that holds 95%.

    It is above 0 since bins hold few rows (Roelofs et al. 2022, arXiv 2012.08668): an ECE in this range cannot be told
    from perfect calibration.
    """
    draw = random.Random(0).random  # noqa: S311
    drawn = (ece(confidences, [draw() < sure for sure in confidences]) for _ in range(_samples(len(confidences))))
    ordered = sorted(drawn)
    edge = len(ordered) // 40
    return Figure(mean(ordered), ordered[edge], ordered[-1 - edge])


def calibration_error(pairs: Sequence[tuple[float, bool]]) -> Figure:
    """Measure ECE with an interval that holds the true one in 95% of runs or more.

    A bootstrap's does not: resampled rows are further from their bins' means than new ones. ECE is a sum of distances,
    so the measured one is off by no more than the same sum for the noise in the bins alone; 97.5% of draws of it are
    below the reach of this interval. Where it is drawn a row is as uncertain as its confidence or its bin says.
    """
    sure, right = [c for c, _ in pairs], [r for _, r in pairs]
    value = ece(sure, right)
    chances = []
    for part in reliability(sure, right):
        seen = (part.accuracy * part.rows + 1) / (part.rows + 2)
        likely = min((seen, part.confidence), key=lambda chance: abs(chance - 0.5))
        chances.append((part.rows, likely))
    draw = random.Random(0).random  # noqa: S311
    noise = sorted(
        sum(abs(sum(draw() < chance for _ in range(rows)) - rows * chance) for rows, chance in chances) / len(pairs)
        for _ in range(_samples(len(pairs)))
    )
    reach = noise[-1 - len(noise) // 40]
    return Figure(value, max(0.0, value - reach), min(1.0, value + reach))


def _of_unanswerable(predictions: Sequence[Prediction]) -> dict[str, Figure]:
    """Measure questions that have an answer and those that have none apart from each other."""
    answerable = [p for p in predictions if p.references]
    unanswerable = [p for p in predictions if not p.references]
    found = {}
    if answerable and unanswerable:
        found["exact_match_answerable"] = _measure([p.scores["exact_match"] for p in answerable])
        found["token_f1_answerable"] = _measure([p.scores["token_f1"] for p in answerable])
        found["answerable_kept"] = _measure([p.scores["answerability"] for p in answerable])
        found["unanswerable_accuracy"] = _measure([p.scores["exact_match"] for p in unanswerable])
        pairs = [(0.5 if p.answering is None else p.answering, bool(p.references)) for p in predictions]
        if any(p.answering is not None for p in predictions):
            found["auroc_answerable"] = _measure(pairs, over(auroc))
    return found


def _of_wording(predictions: Sequence[Prediction], found: dict[str, Figure]) -> tuple[dict[str, Figure], list[str]]:
    """Add the figures that compare wordings, where the libraries for them are installed."""
    said = ["" if p.error or p.value is None else str(p.value) for p in predictions]
    true = [p.references for p in predictions]
    try:
        found = found | {"chrf": chrf(said, true)}
        rouges = [rouge(text, references) for text, references in zip(said, true, strict=True)]
        return found | {name: _measure([row[name] for row in rouges]) for name in rouges[0]}, []
    except ConfigError as error:
        return found, [str(error)]
