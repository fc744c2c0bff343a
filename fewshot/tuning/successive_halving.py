"""Successive halving: ask a few rows with every prompt, keep the better half, ask it more rows, and so on.

Jamieson and Talwalkar 2016 (arXiv 1502.07943): each of the ceil(log2 n) rungs may spend the same number of requests,
and what a prompt was asked in earlier rungs counts on. One thing is different: the prompt that the search starts from
is never dropped, so that the winner is compared with it on all rows. It takes its place only when it is better by more
than the standard error of the difference (the rule of Breiman et al. 1984, Classification and Regression Trees, section
3.4.3, for the simpler of two): the best of many prompts is always a little too good by luck.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fewshot.data.labelled import Labelled
from fewshot.errors import InputError, ServiceError
from fewshot.evaluation.intervals import mean
from fewshot.evaluation.predictions import CURVE, Prediction, judge
from fewshot.evaluation.run import Run
from fewshot.inference.predictor import Predictor
from fewshot.models.request_quota import SPENT, Allowance
from fewshot.result import Result
from fewshot.tuning.candidates import Candidate
from fewshot.types import Plain

__all__ = ["Entry", "Rung", "halve", "overhead", "rungs_for"]

_SCORED = ("logprobs", "decisions", "head")
_FITTED_FROM = 10
"""Rows from which on a candidate is judged after calibration."""


@dataclass(frozen=True, slots=True)
class Rung(Plain):
    """How a prompt stood after some rows: its score, calibrated by cross-validation where that can be done."""

    rows: int
    score: float
    uncalibrated: float
    kept: bool


@dataclass(frozen=True)
class Entry:
    """One prompt in the search, and how it has done so far."""

    candidate: Candidate
    ready: Predictor[Any]
    """The task, calibrated on the rows asked where that can be done."""
    results: tuple[Result[Any], ...] = ()
    scores: tuple[float, ...] = ()
    """The score of each row."""
    uncalibrated: float = 0.0
    nll: float = 0.0
    """Mean negative log-likelihood of the right labels, in nats: decides between equal scores."""
    rungs: tuple[Rung, ...] = ()

    @property
    def score(self) -> float:
        """The mean score, calibrated by cross-validation where that can be done."""
        return mean(self.scores)

    @property
    def merit(self) -> tuple[float, float]:
        """What candidates are ranked by, more is better."""
        return self.score, -self.nll

    def beats(self, start: Entry) -> bool:
        """Tell whether this is better on the same rows by more than the standard error of the difference."""
        gains = [new - old for new, old in zip(self.scores, start.scores, strict=True)]
        gain, count = mean(gains), len(gains)
        error = math.sqrt(sum((one - gain) ** 2 for one in gains) / max(1, count - 1) / count)
        return gain > error * (1 + 1e-9)  # one row more right, and none less, is just the error itself


def rungs_for(count: int) -> int:
    """Tell in how many rungs one of so many prompts is left."""
    return max(1, math.ceil(math.log2(count)))


async def halve(
    run: Run, candidates: Sequence[Candidate], rows: Sequence[Labelled], allowance: Allowance
) -> tuple[Entry, list[Entry]]:
    """Search among prompts; the first is the one to beat.

    Arguments:
        run: what is asked of whom.
        rows: labelled rows; all prompts are asked the same ones, in this order.
        allowance: its `limit` is what the search may spend.

    Returns:
        The winner, which is the first prompt unless another beats it, and all with their rungs.

    Raises:
        InputError: the allowance does not last for one rung. ServiceError: the account is refused.
    """
    entries = [Entry(candidate, candidate.task) for candidate in candidates]
    alive, asked = list(range(len(entries))), 0
    for rungs_left in range(rungs_for(len(entries)), 0, -1):
        until = min(len(rows), asked + _more(allowance, entries, [entries[place] for place in alive], rungs_left))
        try:
            found = [
                await _asked(run, entries[place], rows[:until], f"{until} rows, prompt {place}") for place in alive
            ]
        except ServiceError as error:
            if error.code != SPENT:
                raise
            if not asked:
                message = f"the budget was spent before each of {len(alive)} prompts was asked {until} rows: give more"
                raise InputError(message, field="budget") from error
            run.note(f"the budget was spent at {until} rows a prompt: the choice is by {asked} rows")
            break
        asked = until
        last = rungs_left == 1 or asked == len(rows)
        ranked = sorted(found, key=lambda entry: entry.merit, reverse=True)
        kept = ranked[:1] if last else ranked[: max(1, len(ranked) // 2)]
        if last and not kept[0].beats(found[0]):
            kept = found[:1]
        for place, entry in zip(alive, found, strict=True):
            stays = any(entry is one for one in kept) or (place == 0 and not last)
            rung = Rung(asked, entry.score, entry.uncalibrated, kept=stays)
            entries[place] = replace(entry, rungs=(*entry.rungs, rung))
        alive = [place for place in alive if entries[place].rungs[-1].kept]
        if last:
            break
    best = max((entries[place] for place in alive), key=lambda entry: entry.merit)
    return (entries[0] if 0 in alive and not best.beats(entries[0]) else best), entries


def _more(allowance: Allowance, entries: Sequence[Entry], alive: Sequence[Entry], rungs_left: int) -> int:
    """Tell how many further rows each prompt can be asked in a rung, by what a row has taken so far."""
    assert allowance.limit is not None  # noqa: S101 - the caller sets it
    a_row = sum(entry.candidate.price for entry in alive) * overhead(allowance, entries)
    return max(1, int((allowance.limit - allowance.sent) / rungs_left / a_row))


def overhead(allowance: Allowance, entries: Sequence[Entry]) -> float:
    """Tell how many requests were sent for one that was expected: more where some are repeated, never below 1."""
    expected = sum(len(entry.results) * entry.candidate.price for entry in entries)
    return max(1.0, allowance.sent / expected) if expected else 1.0


async def _asked(run: Run, entry: Entry, rows: Sequence[Labelled], what: str) -> Entry:
    """Ask a prompt the rows that it has not been asked yet, and judge it on all of them."""
    task = entry.candidate.task
    results = (*entry.results, *await run.answers(task, rows[len(entry.results) :], what))
    kind = task.output.kind
    judged = [judge(kind, n, *pair) for n, pair in enumerate(zip(rows, results, strict=True))]
    plain = [prediction.scores[CURVE[kind]] for prediction in judged]
    if kind != "labels":
        return replace(entry, results=results, scores=tuple(plain), uncalibrated=mean(plain))
    ready, chances = task, {p.row: p.probabilities for p in judged if p.probabilities and not p.error}
    scored = [n for n, result in enumerate(results) if result.error is None and result.method in _SCORED]
    if run.calibrate and len(scored) >= _FITTED_FROM:
        ready = await run.prepared(task, [rows[n] for n in scored])
        if ready.fitted is not None and ready.fitted.fit is not None:
            chances |= dict(zip(scored, ready.fitted.fit.held_out, strict=True))
    scores = list(plain)
    for n, shares in chances.items():
        scores[n] = float(max(shares, key=shares.__getitem__) == rows[n].truth)
    nll = _nll(judged, chances) if chances else 0.0
    return replace(entry, ready=ready, results=results, scores=tuple(scores), uncalibrated=mean(plain), nll=nll)


def _nll(judged: Sequence[Prediction], chances: Mapping[int, Mapping[str, float]]) -> float:
    """Average over all rows; one without probabilities counts as an even guess."""
    even = 1 / len(next(iter(chances.values())))
    right = [chances[p.row][p.truth] if p.row in chances else even for p in judged]
    return -mean([math.log(max(chance, 1e-12)) for chance in right])
