"""A head on a task's own examples: the probability of each of many labels, and which of them to ask a model about.

Candidates are drawn by regularised adaptive prediction sets (Angelopoulos et al. 2021, arXiv 2009.14193), as CICLe does
(arXiv 2512.05732). `fitting` makes heads.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from operator import itemgetter
from typing import Any

from fewshot.narrowing.likeness import Likeness

__all__ = ["COVERAGE", "Head", "Reading", "logs"]

COVERAGE = 0.98
"""How often the right label is to be among the candidates."""
_FREE, _PENALTY = 5, 0.02
"""From which rank on a candidate costs more, and how much (`k_reg` and lambda of the source)."""
_ROWS_OF_A_LABEL = 50
"""Examples of one label from which on it has a limit of its own: with fewer, 98% cannot be told from all."""
_SAME = 1e-9
"""Log-probabilities that differ by less are the same: they are sums in floating point."""

Scores = Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a head says of one text."""

    logprobs: Mapping[str, float]
    """Natural-log probability of each label; the probabilities sum to 1."""
    candidates: tuple[str, ...]
    """The labels to ask about, the likeliest first."""
    alike: Sequence[float]
    """How alike the text is to each example; -1 for the text itself where it was left out."""
    scope: float
    """The share of examples that, held out, were no more like any label than this text is."""

    @property
    def likeliest(self) -> str:
        """The label of the largest probability."""
        return max(self.logprobs, key=self.logprobs.__getitem__)

    @property
    def tied(self) -> bool:
        """Whether another label is just as likely, as all are of a text that is like no example."""
        first, second = sorted(self.logprobs.values())[:-3:-1]
        return first - second < _SAME

    @property
    def features(self) -> dict[str, float]:
        """The log-probabilities under names of their own, for a calibration."""
        return {f"head:{label}": logprob for label, logprob in self.logprobs.items()}

    def joined(self, logprobs: Mapping[str, float]) -> dict[str, float]:
        """Give a model's log-probabilities of the candidates the share that these have here, and all others theirs."""
        share = math.log(max(math.fsum(math.exp(self.logprobs[label]) for label in logprobs), 1e-300))
        return {**self.logprobs, **{label: share + logprob for label, logprob in logprobs.items()}}


@dataclass(frozen=True, eq=False, kw_only=True)
class Head:
    """A fitted head; make one with `fit_head`."""

    labels: tuple[str, ...]
    golds: Sequence[int]
    """The place of each example's label."""
    likeness: Likeness
    """Compares a text with the examples and the labels' names."""
    share: float
    """How much vectors count in that."""
    weights: Any
    """An array of one row for each of these and one column a label; without NumPy the weight of each for its label."""
    sharpness: float
    held_out: Sequence[Scores]
    """The scores of each example from a head fitted without it."""

    @cached_property
    def best(self) -> Scores:
        """The largest score of each example, held out, in order."""
        return sorted(map(max, self.held_out))

    @cached_property
    def limits(self) -> Mapping[str, float]:
        """How unlikely a label may be and still be a candidate; that of "" holds for labels without their own."""
        costs: dict[str, list[float]] = defaultdict(list)
        for scores, gold in zip(self.held_out, self.golds, strict=True):
            order = sorted(range(len(self.labels)), key=scores.__getitem__, reverse=True)
            chances = [math.exp(p) for p in logs(scores, self.sharpness)]
            cost = list(_costs([chances[place] for place in order]))[order.index(gold)]
            for label in ("", self.labels[gold]):
                costs[label].append(cost)
        return {la: _limit(of) for la, of in costs.items() if la == "" or len(of) >= _ROWS_OF_A_LABEL}

    def read(self, text: str, *, most: int | None = None, leave_out: bool = False) -> Reading:
        """Give the probability of each label for a text, and the candidates.

        Arguments:
            most: how many candidates, instead of as many as hold the right label in 98%.
            leave_out: a text that is an example, case and punctuation aside, is read by a head fitted without it.
        """
        row, count = self.likeness.row(text, self.share), len(self.held_out)
        own = [place for place in self.likeness.same(text) if place < count] if leave_out else []
        scores = self.held_out[own[0]] if own else self._scores(row)
        alike = [-1.0 if place in own else row[place] for place in range(count)]
        logprobs = dict(zip(self.labels, logs(scores, self.sharpness), strict=True))
        ranked = sorted(logprobs.items(), key=itemgetter(1), reverse=True)
        costs = _costs([math.exp(p) for _, p in ranked])
        within = [la for (la, _), c in zip(ranked, costs, strict=True) if c <= self.limits.get(la, self.limits[""])]
        return Reading(
            logprobs=logprobs,
            candidates=tuple(label for label, _ in ranked[:most]) if most else tuple(within),
            alike=alike,
            scope=(1 + bisect_right(self.best, max(scores))) / (1 + len(self.best)),
        )

    def _scores(self, row: Sequence[float]) -> Scores:
        if hasattr(self.weights, "shape"):
            import numpy as np

            found: Scores = (np.asarray(row)[:, None] * self.weights).sum(axis=0).tolist()  # in this order everywhere
            return found
        sums = [0.0] * len(self.labels)
        for value, weight, column in zip(row, self.weights, (*self.golds, *range(len(sums))), strict=True):
            sums[column] += value * weight
        return sums


def logs(scores: Sequence[float], sharpness: float) -> Scores:
    """Give the natural-log probabilities that scores come to."""
    top = max(scores)
    total = math.log(math.fsum(math.exp(sharpness * (score - top)) for score in scores))
    return [sharpness * (score - top) - total for score in scores]


def _costs(chances: Sequence[float]) -> Iterator[float]:
    """Give what it costs to take each label in, of probabilities from the largest down.

    That is what lies before it, and more for each label beyond the fifth.
    """
    before = accumulate(chances, initial=0.0)
    return (
        sum_ + _PENALTY * max(0, place - _FREE) for place, (sum_, _) in enumerate(zip(before, chances, strict=False))
    )


def _limit(costs: Sequence[float]) -> float:
    """Give the cost that the right label does not exceed in 98% (split conformal prediction, Vovk et al. 2005)."""
    place = math.ceil((len(costs) + 1) * COVERAGE)
    return sorted(costs)[place - 1] if place <= len(costs) else math.inf
