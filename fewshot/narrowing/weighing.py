"""How much a head and a model count, each by its log-probabilities (a logarithmic opinion pool), fitted on rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from fewshot.calibration.calibration import Calibration, Output, normalise
from fewshot.calibration.fitting import Fitted, Trial
from fewshot.calibration.logistic import minimise
from fewshot.narrowing.head import Reading

__all__ = ["HEAD_ALONE", "fit_weights", "pooled"]

HEAD_ALONE = "head alone"
_EVEN = (0.5, 0.5)
_SPREAD = 0.5
"""Standard deviation of the two weights' priors, round the head alone."""
_PARTS = 8

Row = tuple[Sequence[float], Sequence[float], int]
"""Log-probabilities by the head, those by the model, and the place of the right label."""


@lru_cache(maxsize=64)
def pooled(
    labels: tuple[str, ...], head: float = _EVEN[0], model: float = _EVEN[1], name: str = "pooled"
) -> Calibration:
    """Give what adds the log-probabilities of head and model, each times its weight; by default both count alike."""
    return Calibration(name, tuple(Output(la, 0.0, ((la, model), (f"head:{la}", head))) for la in labels))


def fit_weights(scores: Sequence[Mapping[str, float]], readings: Sequence[Reading], answers: Sequence[str]) -> Fitted:
    """Fit the two weights on labelled rows; the head stays alone unless the model measurably adds to it.

    That is where the mean gain in log-likelihood, on rows left out of the fit, is more than its standard error.

    Arguments:
        scores: for each row the log-probability of every label, as `Reading.joined` gives them.
        readings: what the head says of each row.
    """
    labels = tuple(readings[0].logprobs)
    rows = [
        ([reading.logprobs[la] for la in labels], [normalise(row)[la] for la in labels], labels.index(answer))
        for row, reading, answer in zip(scores, readings, answers, strict=True)
    ]
    parts = [range(part, len(rows), _PARTS) for part in range(min(_PARTS, len(rows)))]
    held_out: dict[int, tuple[float, float]] = {}
    for part in parts:
        held_out |= dict.fromkeys(part, _weights([row for place, row in enumerate(rows) if place not in part]))
    both = [_chances(row, held_out[place]) for place, row in enumerate(rows)]
    alone = [_chances(row, (1.0, 0.0)) for row in rows]
    gains = [
        math.log(max(b[gold], 1e-300) / max(a[gold], 1e-300))
        for a, b, (_, _, gold) in zip(alone, both, rows, strict=True)
    ]
    mean = math.fsum(gains) / len(gains)
    error = math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains) / max(1, len(gains) - 1) / len(gains))
    weights = _weights(rows)
    adds = len(rows) > 1 and mean > error and weights[1] > 0
    calibration = pooled(labels, *weights, "head and model") if adds else pooled(labels, 1.0, 0.0, HEAD_ALONE)
    return Fitted(
        calibration,
        (_trial(HEAD_ALONE, alone, rows), _trial("head and model", both, rows)),
        tuple(dict(zip(labels, chances, strict=True)) for chances in (both if adds else alone)),
        {label: (answers.count(label) + 1) / (len(answers) + len(labels)) for label in labels},
    )


def _weights(rows: Sequence[Row]) -> tuple[float, float]:
    """Give the weights of highest posterior probability."""

    def loss(point: list[float]) -> tuple[float, list[float]]:
        head, model = point
        value = ((head - 1) ** 2 + model**2) / (2 * _SPREAD**2)
        slope = [(head - 1) / _SPREAD**2, model / _SPREAD**2]
        for row in rows:
            chances = _chances(row, (head, model))
            value -= math.log(max(chances[row[2]], 1e-300))
            for place, found in enumerate(row[:2]):
                slope[place] += math.fsum(p * x for p, x in zip(chances, found, strict=True)) - found[row[2]]
        return value, slope

    head, model = minimise(loss, [1.0, 0.0])
    return head, max(0.0, model)


def _chances(row: Row, weights: tuple[float, float]) -> list[float]:
    scores = [weights[0] * head + weights[1] * model for head, model in zip(row[0], row[1], strict=True)]
    top = max(scores)
    parts = [math.exp(score - top) for score in scores]
    total = math.fsum(parts)
    return [part / total for part in parts]


def _trial(name: str, found: Sequence[Sequence[float]], rows: Sequence[Row]) -> Trial:
    golds = [gold for *_, gold in rows]
    surprise = -math.fsum(math.log(max(c[gold], 1e-300)) for c, gold in zip(found, golds, strict=True)) / len(rows)
    right = sum(max(range(len(c)), key=c.__getitem__) == gold for c, gold in zip(found, golds, strict=True))
    return Trial(name, surprise, right / len(rows))
