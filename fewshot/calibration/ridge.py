"""Learn to read a label from everything the model was about to say, or from an embedding: hundreds of features a row.

The answer's place holds more than the label words: " great" and " boring" have log-probabilities there too. A ridge
regression of the labels on them, with exact leave-one-out predictions, boils a block of such features down to one
score a label that has not seen its own row, which `fitting` then weighs like any other score. It takes numpy, which
the extras `local` and `eval` bring; what was fitted is applied without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Features", "Readout", "Ridge", "Top", "can_fit", "next_tokens", "token_features", "vocabulary"]

Top = Sequence[tuple[bytes, float]]
Matrix = list[list[float]]

_PENALTIES = (0.2, 0.7, 2.5)


def can_fit() -> bool:
    """Tell whether numpy is there, without which hundreds of features a row are not fitted."""
    return find_spec("numpy") is not None


@dataclass(frozen=True, slots=True)
class Readout:
    """A linear score for each label: `weights` has one row a label and one column a feature."""

    features: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    biases: tuple[float, ...]

    @property
    def kind(self) -> str:
        """What the features are: what stands before the colon in their names, and "features" of tokens."""
        kind, colon, _ = self.features[0].partition(":")
        return kind if colon and kind != "token" else "features"


class Features:
    """A block of features, the same for all rows, and what solves a regression on it: the same for whatever labels."""

    def __init__(self, rows: Sequence[Mapping[str, float]]) -> None:
        import numpy as np

        self.names = tuple(rows[0])
        table = np.array([[row[name] for name in self.names] for row in rows], dtype=np.float64)
        self.means = table.mean(axis=0)
        table -= self.means
        self.spread = float((table**2).sum() / len(rows)) or 1.0
        self.rows: Array = table / self.spread**0.5
        self._inverses: dict[float, Array] = {}

    def solve(self, targets: Array, penalty: float, kept: Sequence[int]) -> tuple[Array, Array, float]:
        """Solve ridge regression on the rows that are kept; give weights, left-out predictions and their squared error.

        With H the matrix that makes predictions of targets, leaving out row i divides its residual by 1 - H_ii. Of the
        two systems of equations that give the same, the smaller is solved: one a row, or one a feature. That of the
        rows is inverted once; for fewer rows the inverse is corrected by its Schur complement.
        """
        import numpy as np

        rows, width = self.rows[kept], len(self.names)
        if len(self.rows) > width:
            core = np.linalg.inv(rows.T @ rows + penalty * np.eye(width))
            weights = core @ (rows.T @ targets)
            alphas = (targets - rows @ weights) / penalty
            rest = (1 - ((rows @ core) * rows).sum(axis=1)) / penalty
        else:
            whole = self._inverse(penalty)
            inside = np.array(kept)
            out = np.setdiff1d(np.arange(len(whole)), inside)
            own, across = whole[np.ix_(inside, inside)], whole[np.ix_(inside, out)]
            shift = across @ np.linalg.inv(whole[np.ix_(out, out)])
            alphas = own @ targets - shift @ (across.T @ targets)
            rest = own.diagonal() - (shift * across).sum(axis=1)
            weights = rows.T @ alphas
        residuals = alphas / rest[:, None]
        return weights, targets - residuals, float((residuals**2).sum())

    def _inverse(self, penalty: float) -> Array:
        import numpy as np

        if penalty not in self._inverses:
            kernel = self.rows @ self.rows.T + penalty * np.eye(len(self.rows))
            self._inverses[penalty] = np.asarray(np.linalg.inv(kernel), dtype=np.float64)
        return self._inverses[penalty]


class Ridge:
    """The readout of some labels from a block of features, ready to be fitted on all rows or on some of them.

    The penalty, one of three, is the one whose leave-one-out error over all rows is least (PRESS, Allen 1974).
    """

    def __init__(self, block: Features, answers: Sequence[str], labels: Sequence[str]) -> None:
        import numpy as np

        self._block = block
        self._wanted: Array = np.array([[float(answer == label) for label in labels] for answer in answers])
        targets, everything = self._wanted - self._wanted.mean(axis=0), range(len(answers))
        self._penalty = min((block.solve(targets, penalty, everything)[2], penalty) for penalty in _PENALTIES)[1]

    def fit(self, without: Collection[int] = ()) -> tuple[Readout, Matrix]:
        """Fit on all rows but some.

        Returns:
            The readout, and for every row the scores of the labels from a readout that was fitted without that row; the
            rows left out have told nothing to any of these but the penalty.
        """
        block, left_out = self._block, set(without)
        kept = [row for row in range(len(block.rows)) if row not in left_out]
        shares = self._wanted[kept].mean(axis=0)
        weights, predicted, _ = block.solve(self._wanted[kept] - shares, self._penalty, kept)
        scores = block.rows @ weights
        scores[kept] = predicted
        weights /= block.spread**0.5
        biases = shares - block.means @ weights
        readout = Readout(block.names, tuple(map(tuple, weights.T.tolist())), tuple(biases.tolist()))
        found: Matrix = (scores + shares).tolist()
        return readout, found


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
