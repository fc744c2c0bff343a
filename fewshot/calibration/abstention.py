"""Choose how sure an answer must be, so that those given are wrong no more often than was promised."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fewshot._checks import check_number
from fewshot.errors import InputError
from fewshot.types import Plain

__all__ = [
    "CoveragePoint",
    "Threshold",
    "at_most",
    "average_threshold_for",
    "beta_below",
    "check_promise",
    "coverage_curve",
    "coverage_table",
    "error_bound",
    "fields_threshold_for",
    "overall_threshold_for",
    "recall_threshold_for",
    "threshold_for",
]

_STEPS = 20
"""A threshold that was passed is loosened by this share of the rows at a time: 5%."""
_STARTS = (0.0, 0.35, 0.7)
"""Shares of the rows that the first thresholds accept. A strict start passes where few answers are very sure, a lax one
where there is no order among them; each has a third of the chance of failure."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Accept an answer when its confidence is at least `threshold`.

    A promise of one label's `recall` gives that label wherever its probability is at least `threshold`, even where
    another is more probable; one of its `precision` holds that label back below it and leaves others as they are.
    `rows` are then those that have the label, or that were given it, and `error` is the share of them missed or wrong.

    With a chance of `confidence` at most `risk` of the accepted answers are wrong. `coverage` and `error` are the share
    accepted and the share wrong among these on the rows given, `bound` the upper confidence bound on that error. When
    nothing could be promised the threshold is infinite, so that every answer is held back, and `reason` says why.
    """

    threshold: float
    risk: float
    confidence: float
    coverage: float
    error: float
    bound: float
    rows: int
    reason: str = ""
    promise: str = "risk"
    """What was promised: `risk`, `average_risk`, `recall` or `precision`; of a cascade `agree` or `right`."""
    label: str | None = None
    """The label whose recall or precision was promised."""
    fields: Mapping[str, float] = field(default_factory=dict)
    """Of a record the risk that was promised of each field; `risk` is the largest."""

    @property
    def least(self) -> float | dict[str, float] | None:
        """The `min_confidence` that keeps the promise, of all or of each field; None where it is about one label."""
        if self.fields:
            return {name: self._least_of(risk) for name, risk in self.fields.items()}
        return None if self.label is not None else self.threshold if self.threshold <= 1 else math.inf

    def _least_of(self, risk: float) -> float:
        """Give the least confidence of a field: above that at which the first row was refused, rounding aside."""
        least = self.threshold ** (risk / self.risk) * (1 + 1e-12)
        return least if least <= 1 else math.inf

    @property
    def sentence(self) -> str:
        """Say for a person what is promised of answers to come."""
        sure = f"with a confidence of {self.confidence:.0%}"
        if self.promise == "recall":
            return f"at least {1 - self.risk:.1%} of those that are {self.label!r} will be answered so, {sure}"
        if self.promise == "precision":
            return f"at least {1 - self.risk:.1%} of the answers {self.label!r} will be right, {sure}"
        if self.promise == "agree":
            return f"at least {1 - self.risk:.1%} of all rows will get the answer that the next task gives, {sure}"
        if self.promise == "right":
            return f"at least {1 - self.risk:.1%} of all rows will be answered rightly or by the next task, {sure}"
        if self.fields:
            each = ", ".join(f"{name!r} {risk:.1%}" for name, risk in self.fields.items())
            return f"of the answers given no more will have a field wrong than {each}, {sure}"
        sure = "in the mean over many fits" if self.promise == "average_risk" else sure
        return f"at most {self.risk:.1%} of the answers given will be wrong, {sure}"

    def decide(self, said: Any, probabilities: Mapping[str, float] | None) -> tuple[Any, bool]:
        """Give the label to answer by a promise of one label, and whether to hold it back.

        Arguments:
            said: the most probable label.
            probabilities: of every label; without any nothing can be promised, so that the answer is held back.
        """
        if self.label is None:
            return said, False
        if probabilities is None:
            return said, True
        reaches = probabilities.get(self.label, 0.0) >= self.threshold
        if self.promise == "precision":
            return said, said == self.label and not reaches
        return (self.label if reaches else said), math.isinf(self.threshold)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values; an infinite threshold becomes None."""
        return asdict(self) | {"threshold": self.threshold if math.isfinite(self.threshold) else None}


@dataclass(frozen=True, slots=True)
class CoveragePoint(Plain):
    """What accepting every answer of at least this confidence gives: shares of rows accepted and of these right."""

    threshold: float
    coverage: float
    accuracy: float


def threshold_for(
    risk: float, confidences: Sequence[float], correct: Sequence[bool], *, confidence: float = 0.95
) -> Threshold:
    """Find the lowest threshold whose accepted answers are wrong at most a share `risk` of the time.

    The rows must be like those to come, and the confidences must not have been fitted on them (`Fitted.held_out`).
    Each threshold is judged by the binomial bound for selective classification (Geifman and El-Yaniv 2017, arXiv
    1705.08500, section 3). From three starts that are fixed beforehand thresholds are loosened step by step until one
    fails (fixed-sequence testing; Angelopoulos et al. 2021, arXiv 2110.01052, section 2.3), which costs nothing for the
    steps and a third of the chance of failure for each start.

    Raises:
        InputError: a risk or confidence outside (0, 1).
    """
    return _threshold_for([risk], confidences, [(right,) for right in correct], confidence)


def fields_threshold_for(
    risks: Mapping[str, float], rows: Sequence[Mapping[str, tuple[float | None, bool]]], *, confidence: float = 0.95
) -> Threshold:
    """Find how sure fields of a record must be, so that of the records accepted each is wrong no more often than said.

    A record is as sure as its least sure field, each confidence taken to a power by which all risks become the largest
    one. What is tested is the records that all fields let pass; every field's bound must hold there, and so all hold
    together with the chance of one (an intersection-union test, Berger 1982, Technometrics 24(4)).

    Arguments:
        risks: for each field the share that may be wrong.
        rows: for each row and field its confidence and whether it was right; rows without a confidence are left out.
        confidence: see `threshold_for`.
    """
    most = max(risks.values())
    known = [row for row in rows if all(row.get(name, (None,))[0] is not None for name in risks)]
    sure = [min((row[name][0] or 0.0) ** (most / risk) for name, risk in risks.items()) for row in known]
    right = [[row[name][1] for name in risks] for row in known]
    found = _threshold_for([*risks.values()], sure, right, confidence)
    return replace(found, risk=most, fields=dict(risks))


def _threshold_for(
    risks: Sequence[float], confidences: Sequence[float], correct: Sequence[Sequence[bool]], confidence: float
) -> Threshold:
    """Find the lowest threshold of `threshold_for` at which all of several risks are kept, each of another outcome."""
    _check(confidences, correct)
    risk = min(risks)
    check_promise(risk, confidence)
    rows = len(confidences)
    level = (1 - confidence) / len(_STARTS)
    pairs = sorted(zip(confidences, correct, strict=True), reverse=True)
    passed: list[Threshold] = []
    least = _needed(risk, level)
    for counts in _sequences(rows, least):
        for count in counts:
            # Rows strictly above the next one's confidence are a fair sample of what passes it, however many tie.
            cut = pairs[count][0] if count < rows else -math.inf
            accepted = [right for value, right in pairs if value > cut]
            if len(accepted) < least:  # too many tie: whether a threshold is tested hangs on confidences alone
                continue
            wrong = [len(accepted) - sum(column) for column in zip(*accepted, strict=True)]
            bounds = [error_bound(count, len(accepted), confidence=1 - level) for count in wrong]
            if any(bound > most for bound, most in zip(bounds, risks, strict=True)):
                break
            lowest, error = max(math.nextafter(cut, math.inf), 0.0), max(wrong) / len(accepted)
            passed.append(Threshold(lowest, risk, confidence, len(accepted) / rows, error, max(bounds), rows))
    if passed:
        return min(passed, key=lambda found: found.threshold)
    return Threshold(math.inf, risk, confidence, 0.0, 0.0, 1.0, rows, _why_none(rows, risk, level))


def average_threshold_for(risk: float, confidences: Sequence[float], correct: Sequence[bool]) -> Threshold:
    """Find the lowest threshold whose accepted answers are wrong a share `risk` of the time in expectation.

    That is the mean over many such sets of labelled rows: of single ones about half come out above it, so this is for
    who cares for the sum over many tasks, not for the worst. The rule is that of conformal selection (Jin and Candès
    2023, arXiv 2210.01408) for many rows to come: wrong ones accepted, and one more, are at most that share of those
    accepted. Rows and confidences must be as for `threshold_for`; no `confidence` goes with it.
    """
    _check(confidences, correct)
    check_promise(risk, 0.5)
    rows = len(confidences)
    pairs = sorted(zip(confidences, correct, strict=True), reverse=True)
    why, kind = _why_no_average(rows, risk), "average_risk"
    best = Threshold(math.inf, risk, 0.5, 0.0, 0.0, 1.0, rows, why, kind)
    wrong = 0
    for seen, (value, right) in enumerate(pairs, start=1):
        wrong += not right
        ends = seen == rows or pairs[seen][0] < value  # those that tie are accepted together
        if ends and (wrong + 1) / seen <= risk:
            best = Threshold(value, risk, 0.5, seen / rows, wrong / seen, (wrong + 1) / seen, rows, promise=kind)
    return best


def overall_threshold_for(
    risk: float, confidences: Sequence[float], correct: Sequence[bool], *, confidence: float = 0.95
) -> Threshold:
    """Find the lowest threshold at which accepted answers that are wrong are at most a share `risk` of all rows.

    What is not accepted is answered by somebody else, and counts as right. A lower threshold never accepts fewer wrong
    answers, so that the exact binomial bound at one threshold has the whole chance of failure (risk-controlling sets,
    Bates et al. 2021, arXiv 2101.02703, theorem 1). Rows and confidences must be as for `threshold_for`.

    Raises:
        InputError: a risk or confidence outside (0, 1).
    """
    _check(confidences, correct)
    check_promise(risk, confidence)
    rows = len(confidences)
    wrong = sorted((c for c, right in zip(confidences, correct, strict=True) if not right), reverse=True)
    allowed = -1
    while allowed < len(wrong) and at_most(allowed + 1, rows, risk) <= 1 - confidence:
        allowed += 1
    if allowed < 0:
        why = f"{rows} rows are too few to promise {risk:.1%}: it takes {_needed(risk, 1 - confidence)}"
        return Threshold(math.inf, risk, confidence, 0.0, 0.0, 1.0, rows, why)
    # strictly above the first wrong answer too many, so that all that tie with it are refused
    least = 0.0 if allowed >= len(wrong) else math.nextafter(wrong[allowed], math.inf)
    missed, accepted = sum(c >= least for c in wrong), sum(c >= least for c in confidences)
    why = "" if accepted else f"the surest answers are wrong too often to promise {risk:.1%}: allow more risk"
    bound = error_bound(missed, rows, confidence=confidence)
    return Threshold(
        least if accepted else math.inf, risk, confidence, accepted / rows, missed / rows, bound, rows, why
    )


def recall_threshold_for(
    recall: float,
    label: str,
    probabilities: Sequence[float | None],
    has_label: Sequence[bool],
    *,
    confidence: float = 0.95,
) -> Threshold:
    """Find the highest threshold on a label's probability that still finds a share `recall` of those that have it.

    Rows and probabilities must be as for `threshold_for`; None is a row that got no answer, which finds nothing. The
    exact binomial bound is tested from threshold 0 upwards until it fails (Learn then Test, Angelopoulos et al. 2021,
    arXiv 2110.01052, section 2.3). A lower threshold never misses more, so that one sequence has the whole chance of
    failure.

    Raises:
        InputError: a recall or confidence outside (0, 1).
    """
    _check(probabilities, has_label)
    risk = 1 - recall
    check_promise(risk, confidence)
    found = sorted(-1.0 if p is None else p for p, has in zip(probabilities, has_label, strict=True) if has)
    rows, cut, missed = len(found), math.inf, 0
    for count, probability in enumerate(found):
        bound = error_bound(count, rows, confidence=confidence)
        if bound > risk:
            break
        if probability >= 0:
            cut, missed = probability, sum(other < probability for other in found)
    if math.isinf(cut):
        why = f"of {label!r}: {_why_none(rows, risk, 1 - confidence)}"
        return Threshold(cut, risk, confidence, 0.0, 0.0, 1.0, rows, why, "recall", label)
    answered = sum(p is not None and p >= cut for p in probabilities) / len(probabilities)
    bound = error_bound(missed, rows, confidence=confidence)
    return Threshold(cut, risk, confidence, answered, missed / rows, bound, rows, "", "recall", label)


def check_promise(risk: float, confidence: float) -> None:
    """Raise `InputError` for a risk or confidence outside (0, 1)."""
    for name, share in (("risk", risk), ("confidence", confidence)):
        check_number(name, share, "a share between 0 and 1, such as 0.05 for 5 %")
    if not 0 < risk < 1 or not 0 < confidence < 1:
        name, share = ("confidence", confidence) if 0 < risk < 1 else ("risk", risk)
        raise InputError(f"{name}={share!r}: must lie between 0 and 1, as 0.05 for 5%", field=name)


def error_bound(wrong: int, rows: int, *, confidence: float = 0.95) -> float:
    """Bound the true error rate from above after `wrong` errors in `rows` (Clopper and Pearson 1934, one-sided)."""
    if wrong >= rows:
        return 1.0
    low, high = wrong / rows, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(wrong, rows, middle) > 1 - confidence else (low, middle)
    return high


def coverage_curve(confidences: Sequence[float], correct: Sequence[bool]) -> list[CoveragePoint]:
    """Give coverage and accuracy at every distinct confidence, the strictest first."""
    _check(confidences, correct)
    pairs = sorted(zip(confidences, correct, strict=True), reverse=True)
    curve: list[CoveragePoint] = []
    right = 0
    for seen, (value, is_right) in enumerate(pairs, start=1):
        right += is_right
        if seen == len(pairs) or pairs[seen][0] < value:
            curve.append(CoveragePoint(value, seen / len(pairs), right / seen))
    return curve


def coverage_table(
    confidences: Sequence[float],
    correct: Sequence[bool],
    *,
    coverages: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
) -> list[CoveragePoint]:
    """Pick from the curve, for each share of rows, the first point that accepts at least that many."""
    curve = coverage_curve(confidences, correct)
    return [next(p for p in curve if p.coverage >= share - 1e-12) for share in coverages] if curve else []


def _sequences(rows: int, least: int) -> Iterator[list[int]]:
    """Give for each start how many rows its thresholds shall accept, the strictest first.

    Fewer than `least` would not pass even without an error.
    """
    step = max(1, rows // _STEPS)
    for share in _STARTS:
        start = max(least, math.ceil(rows * share))
        yield [*range(start, rows, step), *[rows] * (start <= rows)]


def _needed(risk: float, delta: float) -> int:
    """Count the rows without any error that it takes to promise a risk."""
    return math.ceil(math.log(delta) / math.log1p(-risk))


def _why_none(rows: int, risk: float, level: float) -> str:
    needed = _needed(risk, level)
    if rows < needed:
        return f"{rows} rows are too few to promise {risk:.1%}: it takes {needed} without an error"
    return f"no threshold keeps the error of {rows} rows below {risk:.1%} with this confidence: allow more risk"


def _why_no_average(rows: int, risk: float) -> str:
    needed = math.ceil(1 / risk)
    if rows < needed:
        return f"{rows} rows are too few to promise {risk:.1%} on average: it takes {needed} without an error"
    return f"no threshold keeps the error of {rows} rows at {risk:.1%} on average: allow more risk"


def at_most(wrong: int, rows: int, rate: float) -> float:
    """Give the binomial chance of at most `wrong` errors."""
    return 1.0 if wrong >= rows else beta_below(rows - wrong, wrong + 1, 1 - rate)


def beta_below(a: float, b: float, x: float) -> float:
    """Give the regularized incomplete beta function by its continued fraction (https://dlmf.nist.gov/8.17.E22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_below(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    upper, lower, found = 1.0, 1 / (1 - (a + b) * x / (a + 1)), 1 / (1 - (a + b) * x / (a + 1))
    for m in range(1, 10_000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            lower, upper = 1 / (1 + step * lower), 1 + step / upper
            found *= lower * upper
        if abs(lower * upper - 1) < 1e-12:
            break
    return math.exp(front) * found / a


def _check(confidences: Sequence[float | None], correct: Sequence[object]) -> None:
    if len(confidences) != len(correct):
        raise InputError(
            f"{len(confidences)} confidences and {len(correct)} outcomes do not pair up; give one of each."
        )
