"""Learn to read a label from everything the model was about to say, or from an embedding: hundreds of features a row.

The answer's place holds more than the label words: " great" and " boring" have log-probabilities there too. A ridge
regression of the labels on them, with exact leave-one-out predictions, boils a block of such features down to one
score a label that has not seen its own row, which `fitting` then weighs like any other score.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul

__all__ = ["Readout", "Ridge", "Top", "next_tokens", "token_features", "vocabulary"]

Top = Sequence[tuple[bytes, float]]
Matrix = list[list[float]]

_PENALTIES = (0.2, 0.7, 2.5)
_ROWS = 500
"""Most rows that a ridge is fitted on: its time grows with their cube (a whole fit takes about 13 s at 500)."""


@dataclass(frozen=True, slots=True)
class Readout:
    """A linear score for each label: `weights` has one row a label and one column a feature."""

    features: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    biases: tuple[float, ...]


class Ridge:
    """A block of features, the same for all rows, ready to be fitted on all rows or on some of them.

    The penalty, one of three, is the one whose leave-one-out error over all rows is least (PRESS, Allen 1974).
    """

    def __init__(self, rows: Sequence[Mapping[str, float]], answers: Sequence[str], labels: Sequence[str]) -> None:
        self._features = tuple(rows[0])
        self._means = [math.fsum(row[name] for row in rows) / len(rows) for name in self._features]
        self._centred = [
            [row[name] - mean for name, mean in zip(self._features, self._means, strict=True)] for row in rows
        ]
        self._spread = sum(sum(map(mul, row, row)) for row in self._centred) / len(rows) or 1.0
        self._wanted = [[float(answer == label) for label in labels] for answer in answers]
        few = self._centred[:_ROWS]
        self._gram = [
            [sum(map(mul, one, other)) / self._spread for other in few[: place + 1]] for place, one in enumerate(few)
        ]
        targets = _minus(self._wanted[:_ROWS], _means_of(self._wanted))
        self._solved = {p: _leave_one_out(self._gram, targets, p) for p in _PENALTIES}
        self._penalty = min(_PENALTIES, key=lambda penalty: self._solved[penalty][0])

    def fit(self, without: Collection[int] = ()) -> tuple[Readout, Matrix]:
        """Fit on all rows but some.

        Returns:
            The readout, and for every row the scores of the labels from a readout that was fitted without that row; the
            rows left out have told nothing to any of these but the penalty.
        """
        left_out = set(without)
        kept = [row for row in range(len(self._gram)) if row not in left_out]
        shares = _means_of([wanted for row, wanted in enumerate(self._wanted) if row not in left_out])
        if left_out:
            gram = [[self._gram[one][other] for other in kept[: place + 1]] for place, one in enumerate(kept)]
            targets = _minus([self._wanted[row] for row in kept], shares)
            _, alphas, predicted = _leave_one_out(gram, targets, self._penalty)
        else:
            _, alphas, predicted = self._solved[self._penalty]
        columns = list(zip(*(self._centred[row] for row in kept), strict=True))
        weights = [
            [sum(map(mul, alpha, column)) / self._spread for column in columns] for alpha in zip(*alphas, strict=True)
        ]
        known = dict(zip(kept, predicted, strict=True))
        scores = [
            [value + share for value, share in zip(known.get(place) or _times(row, weights), shares, strict=True)]
            for place, row in enumerate(self._centred)
        ]
        biases = [share - sum(map(mul, self._means, weight)) for share, weight in zip(shares, weights, strict=True)]
        return Readout(self._features, tuple(map(tuple, weights)), tuple(biases)), scores


def vocabulary(tops: Iterable[Top], *, most: int = 1500) -> tuple[str, ...]:
    """Choose the tokens worth reading: those listed for at least one row in fifty, the commonest first."""
    seen = [{name for name, _ in next_tokens(top)} for top in tops]
    counts = Counter(name for names in seen for name in names)
    least = max(2, len(seen) // 50)
    return tuple(name for name, count in sorted(counts.items(), key=lambda c: (-c[1], c[0]))[:most] if count >= least)


def token_features(top: Top, wanted: Iterable[str]) -> dict[str, float]:
    """Give the log-probability of each token wanted; one that is not listed counts as just below the last that is."""
    listed = next_tokens(top)
    floor = min((logprob for _, logprob in listed), default=0.0) - 0.5
    known = dict(reversed(listed))
    return {name: known.get(name, floor) for name in wanted}


def next_tokens(top: Top) -> list[tuple[str, float]]:
    """Name the tokens listed, so that they cannot be mistaken for labels."""
    return [(f"token:{token.decode('utf-8', 'backslashreplace')}", logprob) for token, logprob in top]


def _means_of(rows: Matrix) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _minus(rows: Matrix, means: Sequence[float]) -> Matrix:
    return [[value - mean for value, mean in zip(row, means, strict=True)] for row in rows]


def _times(row: Sequence[float], weights: Matrix) -> list[float]:
    return [sum(map(mul, row, weight)) for weight in weights]


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
