"""Multinomial logistic regression, small enough to read; over features in NumPy where that is installed.

The score of label j is `sharpness * x_j + sum_f across_jf * u_f + bias_j`: x are the label's own scores,
u are features that all labels share. Every weight has a normal prior round the point where only the sharpness is left,
so that few rows move it little. Data are kept as columns, which lets the inner loops run in C.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from operator import mul, sub, truediv

__all__ = ["Weights", "Widths", "fit", "minimise", "probabilities"]

Column = Sequence[float]
Vector = list[float]


@dataclass(frozen=True, slots=True)
class Widths:
    """Standard deviations of the priors of the weights; a zero leaves that kind of weight out."""

    sharpness: float = 0.7
    """Of the logarithm: a temperature of a half or of two is nothing unusual."""
    across: float = 0.0
    bias: float = 0.0


@dataclass(frozen=True, slots=True)
class Weights:
    """What was fitted, one entry a label (and in `across` one a feature within)."""

    sharpness: float
    bias: tuple[float, ...]
    across: tuple[tuple[float, ...], ...]


def fit(scores: Sequence[Column], features: Sequence[Column], targets: Sequence[int], widths: Widths) -> Weights:
    """Find the weights of highest posterior probability.

    `scores` has one column a label, `features` one a feature, and `targets` the position of each row's label.
    """
    count, width = len(scores), len(features) if widths.across else 0
    prior = [widths.sharpness] + [widths.bias] * count + [widths.across] * (count * width)
    free = [place for place, deviation in enumerate(prior) if deviation]
    precision = [1 / prior[place] ** 2 for place in free]
    rows = max(len(targets), 1)

    def unpack(point: Vector) -> Weights:
        full = [0.0] * len(prior)
        for place, value in zip(free, point, strict=True):
            full[place] = value
        across = full[1 + count :]
        return Weights(
            sharpness=math.exp(min(max(full[0], -12.0), 12.0)),
            bias=tuple(full[1 : 1 + count]),
            across=tuple(tuple(across[j * width : (j + 1) * width]) for j in range(count)),
        )

    judge = (_in_numpy if width and find_spec("numpy") else _in_columns)(scores, features[:width], targets)

    def loss(point: Vector) -> tuple[float, Vector]:
        surprise, slope = judge(unpack(point))
        penalty = sum(p * v * v for p, v in zip(precision, point, strict=True)) / 2
        gradient = [slope[place] + p * v for place, p, v in zip(free, precision, point, strict=True)]
        return (surprise + penalty) / rows, [g / rows for g in gradient]

    return unpack(minimise(loss, [0.0] * len(free)))


def _in_columns(
    scores: Sequence[Column], features: Sequence[Column], targets: Sequence[int]
) -> Callable[[Weights], tuple[float, Vector]]:
    """Give what tells the surprise of all rows at some weights, and its slope: sharpness, biases, features by label."""
    hot = [[float(target == label) for target in targets] for label in range(len(scores))]

    def judge(weights: Weights) -> tuple[float, Vector]:
        chances = probabilities(weights, scores, features)
        surprise = -sum(math.log(max(chances[label][n], 1e-300)) for n, label in enumerate(targets))
        wrong = [list(map(sub, chance, truth)) for chance, truth in zip(chances, hot, strict=True)]
        slope = [weights.sharpness * sum(map(_dot, wrong, scores)), *map(sum, wrong)]
        return surprise, slope + [_dot(r, u) for r in wrong for u in features]

    return judge


def _in_numpy(
    scores: Sequence[Column], features: Sequence[Column], targets: Sequence[int]
) -> Callable[[Weights], tuple[float, Vector]]:
    """Do the same in NumPy."""
    import numpy as np

    x, u, rows = np.array(scores), np.array(features), np.arange(len(targets))
    hot = np.zeros_like(x)
    hot[targets, rows] = 1.0

    def judge(weights: Weights) -> tuple[float, Vector]:
        logits = weights.sharpness * x + np.array(weights.bias)[:, None] + np.array(weights.across) @ u
        logits -= logits.max(axis=0)
        parts = np.exp(logits)
        totals = parts.sum(axis=0)
        wrong = parts / totals - hot
        slope = [weights.sharpness * float((wrong * x).sum()), *wrong.sum(axis=1).tolist()]
        return float((np.log(totals) - logits[targets, rows]).sum()), [*slope, *(wrong @ u.T).ravel().tolist()]

    return judge


def probabilities(weights: Weights, scores: Sequence[Column], features: Sequence[Column]) -> list[Vector]:
    """Give the probability of each label for each row, as columns."""
    columns = []
    for x, bias, across in zip(scores, weights.bias, weights.across, strict=True):
        column = [weights.sharpness * value + bias for value in x]
        for weight, feature in zip(across, features, strict=False):
            column = [value + weight * u for value, u in zip(column, feature, strict=True)]
        columns.append(column)
    tops = list(map(max, zip(*columns, strict=True)))
    parts = [list(map(math.exp, map(sub, column, tops))) for column in columns]
    totals = list(map(sum, zip(*parts, strict=True)))
    return [list(map(truediv, part, totals)) for part in parts]


def minimise(
    loss: Callable[[Vector], tuple[float, Vector]], point: Vector, *, rounds: int = 100, tolerance: float = 1e-4
) -> Vector:
    """Minimise a smooth function of value and gradient: limited-memory BFGS (Nocedal and Wright, algorithm 7.4)."""
    value, slope = loss(point)
    memory: list[tuple[Vector, Vector, float]] = []
    for _ in range(rounds):
        if max(map(abs, slope), default=0.0) < tolerance:
            break
        step = _direction(slope, memory)
        descent = _dot(step, slope)
        length = 1.0 if memory else min(1.0, 1 / math.sqrt(-descent))
        while True:
            ahead = [p + length * s for p, s in zip(point, step, strict=True)]
            new_value, new_slope = loss(ahead)
            if new_value <= value + 1e-4 * length * descent:
                break
            length /= 2
            if length < 1e-10:
                return point
        moved = [length * s for s in step]
        turned = [n - o for n, o in zip(new_slope, slope, strict=True)]
        bend = _dot(moved, turned)
        if bend > 1e-12:
            memory = [*memory[-7:], (moved, turned, bend)]
        point, value, slope = ahead, new_value, new_slope
    return point


def _direction(slope: Vector, memory: list[tuple[Vector, Vector, float]]) -> Vector:
    """Apply the inverse Hessian that the last steps suggest to the gradient, downhill."""
    q = [-g for g in slope]
    parts = []
    for moved, turned, bend in reversed(memory):
        part = _dot(moved, q) / bend
        q = [a - part * b for a, b in zip(q, turned, strict=True)]
        parts.append(part)
    if memory:
        _, turned, bend = memory[-1]
        scale = bend / _dot(turned, turned)
        q = [scale * a for a in q]
    for (moved, turned, bend), part in zip(memory, reversed(parts), strict=True):
        rest = part - _dot(turned, q) / bend
        q = [a + rest * b for a, b in zip(q, moved, strict=True)]
    return q


def _dot(a: Column, b: Column) -> float:
    return float(sum(map(mul, a, b)))
