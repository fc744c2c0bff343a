"""How much a head and a model count, each by its log-probabilities (a logarithmic opinion pool), fitted on rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import fmean, stdev

from fewshot.calibration.calibration import Calibration, Output
from fewshot.calibration.fitting import Fitted, Trial
from fewshot.narrowing.head import Reading

__all__ = ["HEAD_ALONE", "fit_weights", "pooled"]

HEAD_ALONE = "head alone"
_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Shares of the model's log-probabilities; the head has the rest."""
_PARTS = 8


@lru_cache(maxsize=64)
def pooled(labels: tuple[str, ...], model: float = 0.5) -> Calibration:
    """Give what adds the log-probabilities of head and model, the model's times its weight and the head's the rest."""
    outputs = (Output(label, 0.0, ((label, model), (f"head:{label}", 1 - model))) for label in labels)
    return Calibration("head and model" if model else HEAD_ALONE, tuple(outputs))


def fit_weights(scores: Sequence[Mapping[str, float]], readings: Sequence[Reading], answers: Sequence[str]) -> Fitted:
    """Fit the weights on labelled rows; the head stays alone unless the model measurably adds to it.

    That is where the mean gain in log-likelihood, on rows left out of the fit, is more than its standard error.

    Arguments:
        scores: for each row the log-probability of every label, as `Reading.joined` gives them.
        readings: what the head says of each row.
    """
    labels, rows = tuple(readings[0].logprobs), range(len(answers))
    features = [{**row, **reading.features} for row, reading in zip(scores, readings, strict=True)]
    found = {weight: [pooled(labels, weight).apply(row) for row in features] for weight in _WEIGHTS}
    surprise = {
        weight: [-math.log(max(row[answer], 1e-300)) for row, answer in zip(chances, answers, strict=True)]
        for weight, chances in found.items()
    }

    def best(without: int = -1) -> float:
        return min(_WEIGHTS, key=lambda w: sum(surprise[w][row] for row in rows if row % _PARTS != without))

    weights = [best(row % _PARTS) for row in rows]
    gains = [surprise[0.0][row] - surprise[weight][row] for row, weight in zip(rows, weights, strict=True)]
    adds = len(gains) > 1 and fmean(gains) > stdev(gains) / math.sqrt(len(gains))
    held_out = [found[weight][row] for row, weight in zip(rows, weights, strict=True)]
    trials = []
    for name, chances in ((HEAD_ALONE, found[0.0]), ("head and model", held_out)):
        right = [row[answer] == max(row.values()) for row, answer in zip(chances, answers, strict=True)]
        lost = [-math.log(max(row[answer], 1e-300)) for row, answer in zip(chances, answers, strict=True)]
        trials.append(Trial(name, fmean(lost), fmean(right)))
    shares = {label: (answers.count(label) + 1) / (len(answers) + len(labels)) for label in labels}
    calibration = pooled(labels, best() if adds else 0.0)
    return Fitted(calibration, tuple(trials), tuple(held_out if adds else found[0.0]), shares)
