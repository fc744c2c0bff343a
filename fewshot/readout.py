"""Learn to read a label from everything the model was about to say, or from an embedding: hundreds of features a row.

The answer's place holds more than the label words: " great" and " boring" have log-probabilities there too. A ridge
regression of the labels on them, with exact leave-one-out predictions, boils a block of such features down to one
score a label that has not seen its own row, which `fitting` then weighs like any other score.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import mul

__all__ = ["Readout", "Top", "mixed", "next_tokens", "ridge", "token_features", "vocabulary"]

Top = Sequence[tuple[bytes, float]]
Matrix = list[list[float]]

_PENALTIES = (0.2, 0.7, 2.5)
_ROWS = 500
"""Most rows that a ridge is fitted on: its time grows with their cube (about 8 s at 500)."""


@dataclass(frozen=True, slots=True)
class Readout:
    """A linear score for each label: `weights` has one row a label and one column a feature."""

    features: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    biases: tuple[float, ...]


def ridge(
    rows: Sequence[Mapping[str, float]], answers: Sequence[str], labels: Sequence[str]
) -> tuple[Readout, list[list[float]]]:
    """Fit a readout, and give for each row the scores of the labels from a readout fitted without it.

    All rows have the same features. The penalty is the one whose leave-one-out error is least (PRESS, Allen 1974).
    """
    features = tuple(rows[0])
    means = [math.fsum(row[name] for row in rows) / len(rows) for name in features]
    centred = [[row[name] - mean for name, mean in zip(features, means, strict=True)] for row in rows]
    spread = sum(sum(map(mul, row, row)) for row in centred) / len(rows) or 1.0
    wanted = [[float(answer == label) for label in labels] for answer in answers]
    shares = [sum(column) / len(rows) for column in zip(*wanted, strict=True)]
    few = centred[:_ROWS]
    targets = [[value - share for value, share in zip(row, shares, strict=True)] for row in wanted[:_ROWS]]
    gram = [[sum(map(mul, one, other)) / spread for other in few[: place + 1]] for place, one in enumerate(few)]
    _, alphas, left_out = min(
        (_leave_one_out(gram, targets, penalty) for penalty in _PENALTIES), key=lambda fit: fit[0]
    )
    weights = [
        [sum(map(mul, alpha, column)) / spread for column in zip(*few, strict=True)]
        for alpha in zip(*alphas, strict=True)
    ]
    biases = [share - sum(map(mul, means, weight)) for share, weight in zip(shares, weights, strict=True)]
    left_out += [[sum(map(mul, row, weight)) for weight in weights] for row in centred[_ROWS:]]
    scores = [[value + share for value, share in zip(row, shares, strict=True)] for row in left_out]
    return Readout(features, tuple(map(tuple, weights)), tuple(biases)), scores


def vocabulary(tops: Iterable[Top], *, most: int = 1500) -> tuple[str, ...]:
    """Choose the tokens worth reading: those listed for at least one row in fifty, the commonest first."""
    seen = [{name for name, _ in next_tokens(top)} for top in tops]
    counts = Counter(name for names in seen for name in names)
    least = max(2, len(seen) // 50)
    return tuple(name for name, count in sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:most] if count >= least)


def mixed(tops: Sequence[Top]) -> Top:
    """Average the probabilities of the tokens that several prompts listed; one that is not listed counts as 0."""
    if len(tops) < 2:
        return tops[0] if tops else ()
    shares: dict[bytes, float] = {}
    for token, logprob in chain.from_iterable(tops):
        shares[token] = shares.get(token, 0.0) + math.exp(logprob) / len(tops)
    return sorted(((t, math.log(max(share, 1e-300))) for t, share in shares.items()), key=lambda pair: -pair[1])


def token_features(top: Top, wanted: Iterable[str]) -> dict[str, float]:
    """Give the log-probability of each token wanted; one that is not listed counts as just below the last that is."""
    listed = next_tokens(top)
    floor = min((logprob for _, logprob in listed), default=0.0) - 0.5
    known = dict(reversed(listed))
    return {name: known.get(name, floor) for name in wanted}


def next_tokens(top: Top) -> list[tuple[str, float]]:
    """Name the tokens listed, so that they cannot be mistaken for labels."""
    return [(f"token:{token.decode('utf-8', 'backslashreplace')}", logprob) for token, logprob in top]


def _leave_one_out(gram: Matrix, targets: Matrix, penalty: float) -> tuple[float, Matrix, Matrix]:
    """Solve kernel ridge regression; give the squared error, the coefficients and the left-out predictions.

    `gram` is lower triangular. With G the inverse of the penalised matrix, the coefficients are G times the targets
    and leaving out row i changes its residual to coefficient i divided by G's diagonal entry.
    """
    inverse = _inverse_factor(gram, penalty)
    columns = [[row[place] for row in inverse[place:]] for place in range(len(inverse))]
    diagonal = [sum(map(mul, column, column)) for column in columns]
    alphas_by_label = []
    for target in zip(*targets, strict=True):
        half = [sum(map(mul, row, target)) for row in inverse]
        alphas_by_label.append([sum(map(mul, column, half[place:])) for place, column in enumerate(columns)])
    alphas = [list(alpha) for alpha in zip(*alphas_by_label, strict=True)]
    residuals = [[value / d for value in alpha] for alpha, d in zip(alphas, diagonal, strict=True)]
    predicted = [[t - r for t, r in zip(*pair, strict=True)] for pair in zip(targets, residuals, strict=True)]
    return sum(sum(map(mul, row, row)) for row in residuals), alphas, predicted


def _inverse_factor(gram: Matrix, penalty: float) -> Matrix:
    """Invert the Cholesky factor of a symmetric matrix with a penalty on its diagonal; all lower triangular."""
    factor: Matrix = []
    for place, row in enumerate(gram):
        line: list[float] = []
        for column in range(place):
            other = factor[column]
            line.append((row[column] - sum(map(mul, line, other))) / other[column])
        line.append(math.sqrt(max(row[place] + penalty - sum(map(mul, line, line)), 1e-12)))
        factor.append(line)
    columns: Matrix = []
    for start in range(len(factor)):
        entries = [1 / factor[start][start]]
        for place in range(start + 1, len(factor)):
            line = factor[place]
            entries.append(-sum(map(mul, line[start:place], entries)) / line[place])
        columns.append(entries)
    return [[columns[start][row - start] for start in range(row + 1)] for row in range(len(factor))]
