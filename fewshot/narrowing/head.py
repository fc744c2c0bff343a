"""A linear head on n-grams: the probability of each of many labels, and which of them to ask a model about.

It is fitted on a task's own examples with the labels' names beside them, by kernel ridge regression with exact
leave-one-out scores and by the mean likeness to each label's examples; which of these, or both, is chosen by the
leave-one-out log-likelihood. Without numpy it is the mean likeness alone. Candidates are drawn by regularised adaptive
prediction sets (Angelopoulos et al. 2021, arXiv 2009.14193), as CICLe does (arXiv 2512.05732).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import Any

from fewshot.calibration.ridge import can_fit
from fewshot.narrowing.ngrams import Ngrams

__all__ = ["Head", "Reading", "fit_head"]

COVERAGE = 0.98
"""How often the right label is to be among the candidates."""
_POWERS, _PENALTIES, _MIXED = (1.0, 1.5), (0.1, 0.4), 0.5
_POWER_WITHOUT_NUMPY = 2.0
_SHARPNESS = tuple(0.5 * 2 ** (step / 2) for step in range(7))
_FREE, _PENALTY = 5, 0.02
"""From which rank on a candidate costs more, and how much (`k_reg` and lambda of the source)."""
_ROWS_OF_A_LABEL = 50
"""Examples of one label from which on it has a limit of its own: with fewer, 98% cannot be told from all."""

Scores = list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a head says of one text."""

    logprobs: Mapping[str, float]
    """Natural-log probability of each label; the probabilities sum to 1."""
    candidates: tuple[str, ...]
    """The labels to ask about, the likeliest first."""
    alike: Sequence[float]
    """How alike the text is to each example."""
    scope: float
    """The share of examples that, held out, were no more like any label than this text is."""

    @property
    def likeliest(self) -> str:
        """The label of the largest probability."""
        return max(self.logprobs, key=self.logprobs.__getitem__)

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
    ngrams: Ngrams
    power: float
    weights: Any
    """An array of one row a text and one column a label; without numpy the column of each text and its weight."""
    sharpness: float
    held_out: Sequence[Scores]
    """The scores of each example from a head fitted without it."""
    places: Mapping[str, int]
    """Which example has a text."""
    best: Scores
    """The largest score of each example, held out, in order."""
    limits: Mapping[str, float]
    """How unlikely a label may be and still be a candidate; that of "" holds for labels without their own."""

    def read(self, text: str, *, count: int | None = None, leave_out: bool = False) -> Reading:
        """Give the probability of each label for a text, and the candidates.

        Arguments:
            count: how many candidates, instead of as many as hold the right label in 98%.
            leave_out: a text that is an example is read by a head fitted without it.
        """
        alike = self.ngrams.alike(text)
        own = self.places.get(text) if leave_out else None
        scores = self._scores(alike) if own is None else self.held_out[own]
        if own is not None:
            alike[own] = -1.0
        logprobs = dict(zip(self.labels, _logs(scores, self.sharpness), strict=True))
        ranked = sorted(logprobs.items(), key=itemgetter(1), reverse=True)
        costs = _costs([math.exp(p) for _, p in ranked])
        within = [la for (la, _), c in zip(ranked, costs, strict=True) if c <= self.limits.get(la, self.limits[""])]
        return Reading(
            logprobs=logprobs,
            candidates=tuple(label for label, _ in ranked[:count]) if count else tuple(within),
            alike=alike[: len(self.held_out)],
            scope=(1 + bisect_right(self.best, max(scores))) / (1 + len(self.best)),
        )

    def _scores(self, alike: Sequence[float]) -> Scores:
        raised = [value**self.power for value in alike]
        if isinstance(self.weights, list):
            found = [0.0] * len(self.labels)
            for value, (column, weight) in zip(raised, self.weights, strict=True):
                found[column] += value * weight
            return found
        scores: Scores = (raised @ self.weights).tolist()
        return scores


@lru_cache(maxsize=8)
def fit_head(texts: tuple[str, ...], answers: tuple[str, ...], labels: tuple[str, ...], names: tuple[str, ...]) -> Head:
    """Fit a head on examples.

    Arguments:
        texts, answers: the text and the label of each example; each label has some.
        labels: all labels, in their order.
        names: a text for each label, its name or description, which counts as one more example.
    """
    column = {label: place for place, label in enumerate(labels)}
    golds = [column[answer] for answer in answers]
    ngrams = Ngrams([*texts, *names])
    power, weights, held_out, sharpness = (_fitted if can_fit() else _fitted_without_numpy)(ngrams, golds, len(labels))
    costs: dict[str, list[float]] = defaultdict(list)
    for scores, gold in zip(held_out, golds, strict=True):
        order = sorted(range(len(labels)), key=scores.__getitem__, reverse=True)
        chances = [math.exp(p) for p in _logs(scores, sharpness)]
        cost = list(_costs([chances[place] for place in order]))[order.index(gold)]
        costs[""].append(cost)
        costs[labels[gold]].append(cost)
    own = {label: of for label, of in costs.items() if label == "" or len(of) >= _ROWS_OF_A_LABEL}
    return Head(
        labels=labels,
        ngrams=ngrams,
        power=power,
        weights=weights,
        sharpness=sharpness,
        held_out=held_out,
        places={text: place for place, text in enumerate(texts)},
        best=sorted(map(max, held_out)),
        limits={label: _limit(of) for label, of in own.items()},
    )


def _fitted(ngrams: Ngrams, golds: Sequence[int], width: int) -> tuple[float, Any, list[Scores], float]:
    """Give the power of likeness, the weights, the held-out scores and the sharpness that are likeliest, held out."""
    import numpy as np

    alike, count = ngrams.matrix(), len(golds)
    wanted = np.eye(width)[[*golds, *range(width)]]
    means = wanted / wanted.sum(axis=0)
    best: tuple[float, float, float, Any, Any] | None = None
    for power in _POWERS:
        kernel = alike**power
        own = kernel.diagonal()[:, None] * wanted
        nearness = ((kernel @ wanted - own) / (wanted.sum(axis=0) - wanted).clip(1))[:count]
        by_nearness = means / nearness.std(), nearness / nearness.std()
        found = [by_nearness]
        for penalty in _PENALTIES:
            inverse = np.linalg.inv(kernel + penalty * np.eye(len(kernel)))
            weights = inverse @ (wanted - 1 / width)
            predicted = wanted - 1 / width - weights / inverse.diagonal()[:, None]
            ridge = weights / predicted[:count].std(), predicted[:count] / predicted[:count].std()
            found += [ridge, (ridge[0] + _MIXED * by_nearness[0], ridge[1] + _MIXED * by_nearness[1])]
        for weights, scores in found:
            right = scores[range(count), golds]
            for sharpness in _SHARPNESS:
                scaled = sharpness * (scores - scores.max(axis=1, keepdims=True))
                surprise = np.log(np.exp(scaled).sum(axis=1)) - sharpness * (right - scores.max(axis=1))
                if best is None or surprise.mean() < best[0]:
                    best = float(surprise.mean()), power, sharpness, weights, scores
    assert best is not None  # noqa: S101 - there are powers
    return best[1], best[3], best[4].tolist(), best[2]


def _fitted_without_numpy(ngrams: Ngrams, golds: Sequence[int], width: int) -> tuple[float, Any, list[Scores], float]:
    """Give the same from the mean likeness to each label's examples, which is not quite as accurate."""
    power, columns = _POWER_WITHOUT_NUMPY, [*golds, *range(width)]
    counts = Counter(columns)
    held_out = []
    for row, gold in enumerate(golds):
        sums = [0.0] * width
        for place, (value, column) in enumerate(zip(ngrams.alike_to(ngrams.rows[row]), columns, strict=True)):
            sums[column] += 0.0 if place == row else value**power
        held_out.append([total / (counts[c] - (c == gold)) for c, total in enumerate(sums)])
    spread = math.sqrt(math.fsum(s * s for row in held_out for s in row) / (len(held_out) * width)) or 1.0
    held_out = [[score / spread for score in row] for row in held_out]

    def surprise(sharpness: float) -> float:
        return -math.fsum(_logs(scores, sharpness)[gold] for scores, gold in zip(held_out, golds, strict=True))

    return power, [(c, 1 / counts[c] / spread) for c in columns], held_out, min(_SHARPNESS, key=surprise)


def _logs(scores: Sequence[float], sharpness: float) -> Scores:
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
