"""Fit a calibration on labelled rows: try every kind, judge each on rows it was not fitted on, keep the best.

What was fitted is kept only if it beats the plain probabilities there, so a fit can be dropped but do no harm.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fewshot.calibration import logistic
from fewshot.calibration.calibration import Calibration, Output, batch, contextual, normalise, temperature
from fewshot.calibration.goal import Judged
from fewshot.calibration.logistic import Widths
from fewshot.calibration.ridge import Features, Readout, Ridge
from fewshot.errors import InputError

__all__ = ["Fitted", "Trial", "fit", "folds", "judged_rows", "regress"]

Scores = Mapping[str, float]
Recipe = Callable[[Sequence[Scores], Sequence[str]], Calibration]

_BIAS = 2.0
"""Standard deviation expected of a label's bias, in nats: a label eight times too frequent is nothing unusual."""
_LAST = 0.3
"""Standard deviation expected of the logarithm of the last temperature, which few rows should not move far."""
_FEW, _VERY_FEW = 40, 16
"""Below the first the simplest recipe within one standard error is taken, below the second no temperature is fitted."""
_PREFERRED = ("batch+encoder", "batch", "half batch", "contextual", "temperature", "bias+temperature")
"""Among few rows, what is taken before what: the mean over real inputs tells more of a bias than inputs like "N/A"."""
_LIKENESS = 4.0
"""How much a sentence encoder's readout counts, in nats, where rows are too few to tell: the best of 2, 4 and 8."""
_REMARK = "scores of the chosen one are too good by what the choice among them gained: up to 5 points at 60 rows"


@dataclass(frozen=True, slots=True)
class Trial:
    """How one calibration did on rows that it was not fitted on; `nll` is in nats a row."""

    name: str
    nll: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """The calibration that was chosen, and all that were tried."""

    calibration: Calibration
    trials: tuple[Trial, ...]
    held_out: tuple[Mapping[str, float], ...]
    """The probabilities of each row given, from calibrations fitted without it: what a risk threshold needs."""
    shares: Mapping[str, float]
    """How frequent each label is among the rows, smoothed; another prior is corrected by it."""

    def to_dict(self) -> dict[str, Any]:
        """Give what was tried and what was chosen as plain JSON values."""
        trials = [{"name": t.name, "nll": t.nll, "accuracy": t.accuracy} for t in self.trials]
        about = {"chosen": self.calibration.name, "rows": len(self.held_out), "tried": trials}
        return about | ({"remark": _REMARK} if len(trials) > 1 else {})


def fit(
    scores: Sequence[Scores],
    answers: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    wide: Sequence[Sequence[Scores] | Features] = (),
    content_free: Sequence[Scores] = (),
    unlabelled: Sequence[Scores] = (),
    simple: bool = False,
    seed: int = 0,
) -> Fitted:
    """Fit every kind of calibration on labelled rows and choose by cross-validation.

    `scores` holds one mapping a row: the natural-log probability of each label under its name and, if `labels` names
    these, any further real features under other names (scores from other prompts, votes of neighbours). The choice is
    the least mean negative log-likelihood over repeated stratified folds, among those no less accurate than the plain
    probabilities (of shots, where it is to be `simple`: by no more than one standard error); a last temperature is
    fitted on the held-out predictions. Of fewer than 40 rows the choice is the simplest recipe within one standard
    error of the best (Breiman et al. 1984, section 3.4.3), batch calibration first.

    `content_free` and `unlabelled` are scores of inputs without content, and of inputs whose label is not known: with
    the first contextual calibration is among the recipes, with the second batch calibration has a better mean. These
    two are all that is tried of fewer than 16 rows, and where it is to be `simple` since the rows are shots.

    Each block in `wide` holds, for every row, hundreds of features (`token_features`, an embedding) under names of
    their own; a ridge regression turns it into one feature a label, and the calibration then takes them all together
    with the scores.

    No probability is surer than so many rows can tell (`Calibration.bounded`); shots alone set no such bound.

    Raises `InputError` when rows and answers do not pair up, or an answer is not a label.
    """
    names = _checked_labels(scores, answers, labels)
    bound, shots = Calibration(rows=0 if simple else len(answers)), simple
    simple = simple or len(answers) < _VERY_FEW
    tables = [b if isinstance(b, Features) else Features(b) for b in (wide if len(set(answers)) > 1 else ())]
    blocks = [Ridge(table, answers, names) for table in tables]
    plain, (scores, readouts) = scores, _read_out(scores, names, blocks)
    everything = [{label: row[label] for label in names} for row in (*scores, *unlabelled)]
    extra = _groups([name for name in scores[0] if name not in names], readouts)
    recipes = _recipes(names, extra, everything, content_free, answers if simple else ())
    if len(set(answers)) < 2:
        recipes = {"none": recipes["none"]}
    parts = _twins(tables, len(answers)) if simple else _parts(answers, seed)
    views = [_read_out(plain, names, blocks, part)[0] for part in parts]
    tried = {name: _hold_out(recipe, views, answers, parts) for name, recipe in recipes.items()}
    trials = [_trial(name, tried[name], answers) for name in recipes]
    # Of a few shots, one more or less that is right is chance: likelihood chooses among what is not clearly worse.
    start = trials[0].accuracy
    least = start - (math.sqrt(start * (1 - start) / len(answers)) if shots else 0.0)
    for trial in _by_merit(trials, {name: _surprises(rows, answers) for name, rows in tried.items()}, simple, least):
        calibration = recipes[trial.name](scores, answers)
        held_out = [_mean(several) for several in tried[trial.name]]
        if trial.name != "none" and not simple:
            last = _last_temperature(held_out, answers, names)
            calibration = calibration.sharpened(last)
            held_out = [temperature(names, 1 / last).apply(_logs(row)) for row in held_out]
        given = _trial(trial.name, [[calibration.apply(row)] for row in scores], answers)
        if given.nll <= trials[0].nll and given.accuracy >= least:
            break
    calibration = replace(_unfolded(calibration, readouts), name=trial.name, rows=bound.rows)
    return Fitted(calibration, tuple(trials), tuple(map(bound.bounded, held_out)), _shares(answers, names))


def judged_rows(fit: Fitted, truths: Sequence[Any]) -> list[Judged]:
    """Judge the rows of a fit by calibrations that were fitted without them; a set is right as a whole."""
    if fit.calibration.independent:
        sets = [(row, fit.calibration.given(row)) for row in fit.held_out]
        sure = [math.prod(p if label in given else 1 - p for label, p in row.items()) for row, given in sets]
        return [Judged(p, given == truth) for p, (_, given), truth in zip(sure, sets, truths, strict=True)]
    tops = [max(row, key=row.__getitem__) for row in fit.held_out]
    return [Judged(row[t], t == truth, row, truth) for row, t, truth in zip(fit.held_out, tops, truths, strict=True)]


def regress(
    scores: Sequence[Scores], answers: Sequence[str], *, labels: Sequence[str], features: Sequence[str], widths: Widths
) -> Calibration:
    """Fit one regularised affine map from the labels' scores and the `features` named to the labels.

    Scores are centred where a bias is fitted, so that a strong prior leads back to batch calibration.
    """
    rows = [{**row, **normalise({label: row[label] for label in labels})} for row in scores]
    own = [_Standard([row[label] for row in rows]) for label in labels]
    shared = [_Standard([row[feature] for row in rows]) for feature in features]
    weights = logistic.fit(
        [s.centred if widths.bias else s.column for s in own],
        [s.standard for s in shared],
        [labels.index(answer) for answer in answers],
        widths,
    )
    outputs = []
    for place, label in enumerate(labels):
        slopes = {label: weights.sharpness}
        bias = weights.bias[place] - (slopes[label] * own[place].mean if widths.bias else 0.0)
        for feature, column, weight in zip(features, shared, weights.across[place], strict=False):
            slopes[feature] = slopes.get(feature, 0.0) + weight / column.spread
            bias -= weight * column.mean / column.spread
        outputs.append(Output(label, bias, tuple(slopes.items())))
    return Calibration("regression", tuple(outputs))


def folds(answers: Sequence[str], count: int, *, seed: int = 0) -> list[list[int]]:
    """Deal the positions of the rows into `count` parts that each hold about the same share of every answer."""
    order = list(range(len(answers)))
    random.Random(seed).shuffle(order)  # noqa: S311
    order.sort(key=lambda row: answers[row])
    return [part for part in (order[start::count] for start in range(count)) if part]


class _Standard:
    """A column of numbers with its mean and spread."""

    def __init__(self, column: list[float]) -> None:
        self.column = column
        self.mean = sum(column) / len(column)
        self.centred = [value - self.mean for value in column]
        self.spread = math.sqrt(sum(v * v for v in self.centred) / len(column)) or 1.0
        self.standard = [value / self.spread for value in self.centred]


def _recipes(
    labels: tuple[str, ...],
    extra: Mapping[str, tuple[str, ...]],
    everything: Sequence[Scores],
    content_free: Sequence[Scores],
    few_answers: Sequence[str],
) -> dict[str, Recipe]:
    """Name the ways to calibrate, the simplest first.

    The mean of batch calibration needs no labels, so that it is taken over everything there is. Of very few rows the
    shares of the labels are, too: without a row its own label would be the rarer one.
    """

    def shares(answers: Sequence[str]) -> Mapping[str, float]:
        return _shares(few_answers or answers, labels)

    def prior(_scores: Sequence[Scores], answers: Sequence[str]) -> Calibration:
        return batch(everything, prior=shares(answers))

    recipes: dict[str, Recipe] = {"none": lambda _scores, _answers: temperature(labels)}
    if content_free:
        recipes["contextual"] = lambda _scores, answers: contextual(content_free, prior=shares(answers))
    recipes |= {"batch": prior, "half batch": lambda scores, answers: _halved(prior(scores, answers))}
    if "encoder" in extra:
        readout = extra["encoder"][-len(labels) :]
        recipes["batch+encoder"] = lambda scores, answers: _likened(prior(scores, answers), readout, shares(answers))
    return recipes if few_answers else recipes | _regressions(labels, extra)


def _halved(calibration: Calibration) -> Calibration:
    return Calibration("half batch", tuple(replace(o, bias=o.bias / 2) for o in calibration.outputs))


def _likened(calibration: Calibration, readout: Sequence[str], shares: Mapping[str, float]) -> Calibration:
    """Add what an encoder's readout has above the share of each label."""
    outputs = [
        replace(o, bias=o.bias - _LIKENESS * shares[o.label], weights=(*o.weights, (feature, _LIKENESS)))
        for o, feature in zip(calibration.outputs, readout, strict=True)
    ]
    return Calibration("batch+encoder", tuple(outputs))


def _regressions(labels: tuple[str, ...], extra: Mapping[str, tuple[str, ...]]) -> dict[str, Recipe]:
    def regression(features: tuple[str, ...] = (), **widths: float) -> Recipe:
        return partial(regress, labels=labels, features=features, widths=Widths(**widths))

    wide = {f"{name} {w}": regression(extra[name], bias=_BIAS, across=w) for name in extra for w in (0.3, 1.0, 3.0)}
    return {"temperature": regression(), "bias+temperature": regression(bias=_BIAS), **wide}


def _groups(extra: Sequence[str], readouts: Mapping[str, tuple[Readout, int]]) -> dict[str, tuple[str, ...]]:
    """Name the sets of further features that are worth weighing: all of them, and each block beside those given."""
    kinds = {name: readouts[name][0].kind if name in readouts else "" for name in extra}
    blocks = dict.fromkeys(filter(None, kinds.values()))
    found = {kind: tuple(name for name in extra if kinds[name] in ("", kind)) for kind in blocks}
    return found | ({"+".join(blocks) or "features": tuple(extra)} if extra else {})


def _read_out(
    scores: Sequence[Scores], labels: Sequence[str], blocks: Sequence[Ridge], part: Sequence[int] = ()
) -> tuple[list[Scores], dict[str, tuple[Readout, int]]]:
    """Add to every row its scores from readouts that saw neither it nor the rows of the part; tell whence by name."""
    rows = [dict(row) for row in scores]
    sources: dict[str, tuple[Readout, int]] = {}
    for block, ridge in enumerate(blocks):
        readout, predicted = ridge.fit(part)
        for place, label in enumerate(labels):
            name = f"readout {block}:{label}"
            sources[name] = readout, place
            for row, values in zip(rows, predicted, strict=True):
                row[name] = values[place]
    return [*rows], sources


def _unfolded(calibration: Calibration, sources: Mapping[str, tuple[Readout, int]]) -> Calibration:
    """Replace the scores that readouts gave by the features that they are made of."""
    outputs = []
    for output in calibration.outputs:
        bias = output.bias
        slopes = {name: weight for name, weight in output.weights if name not in sources}
        for name, weight in output.weights:
            if name in sources:
                readout, place = sources[name]
                bias += weight * readout.biases[place]
                for feature, part in zip(readout.features, readout.weights[place], strict=True):
                    slopes[feature] = slopes.get(feature, 0.0) + weight * part
        outputs.append(Output(output.label, bias, tuple(slopes.items())))
    return Calibration(calibration.name, tuple(outputs))


def _hold_out(
    recipe: Recipe, views: Sequence[Sequence[Scores]], answers: Sequence[str], parts: Sequence[Sequence[int]]
) -> list[list[dict[str, float]]]:
    """Predict every row by calibrations that were fitted without it, one for each repeat.

    `views` holds all rows once for each part, as they look to one who does not know the answers of that part.
    """
    predicted: list[list[dict[str, float]]] = [[] for _ in answers]
    for part, scores in zip(parts, views, strict=True):
        left_out = set(part)
        kept = [row for row in range(len(scores)) if row not in left_out]
        calibration = recipe([scores[row] for row in kept], [answers[row] for row in kept])
        for row in part:
            predicted[row].append(calibration.apply(scores[row]))
    return predicted


def _twins(blocks: Sequence[Features], count: int) -> list[list[int]]:
    """Leave out rows one by one, but together those that a block cannot tell apart: a shot with and without itself."""
    found: dict[bytes, list[int]] = {}
    for row in range(count):
        found.setdefault(b"".join(block.rows[row].tobytes() for block in blocks) or b"%d" % row, []).append(row)
    return list(found.values())


def _parts(answers: Sequence[str], seed: int) -> list[list[int]]:
    """Deal the rows into folds, more often when they are few."""
    repeats = max(1, min(5, 100 // len(answers)))
    return [part for repeat in range(repeats) for part in folds(answers, 5, seed=seed + repeat)]


def _trial(name: str, predicted: Sequence[Sequence[Mapping[str, float]]], answers: Sequence[str]) -> Trial:
    chances = [(row, answer) for several, answer in zip(predicted, answers, strict=True) for row in several]
    nll = -sum(math.log(max(row[answer], 1e-12)) for row, answer in chances) / len(chances)
    right = sum(max(row, key=row.__getitem__) == answer for row, answer in chances)
    return Trial(name, nll, right / len(chances))


def _surprises(predicted: Sequence[Sequence[Mapping[str, float]]], answers: Sequence[str]) -> list[float]:
    """Give the mean negative log-likelihood of each row."""
    return [
        -sum(math.log(max(row[answer], 1e-12)) for row in several) / len(several)
        for several, answer in zip(predicted, answers, strict=True)
    ]


def _by_merit(
    trials: Sequence[Trial], surprises: Mapping[str, Sequence[float]], simple: bool, least: float
) -> list[Trial]:
    """Sort those that may be chosen, the best first; the plain probabilities are always among them, last."""
    plain, *others = trials
    ranked = sorted((t for t in others if t.nll <= plain.nll and t.accuracy >= least), key=lambda t: t.nll)
    if ranked and (simple or len(surprises["none"]) < _FEW):
        best = surprises[ranked[0].name]
        without = next(t.nll for t in trials if t.name == "batch")
        ranked = [t for t in ranked if t.name != "batch+encoder" or t.nll < without]
        near = [t for t in ranked if t.name in _PREFERRED and _near(surprises[t.name], best)]
        near.sort(key=lambda t: _PREFERRED.index(t.name))
        ranked = [*near, *(t for t in ranked if t not in near)]
    return [*ranked, plain]


def _near(one: Sequence[float], best: Sequence[float]) -> bool:
    """Tell whether the mean of one is within a standard error of that of the best, row by row."""
    gaps = [a - b for a, b in zip(one, best, strict=True)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / max(1, len(gaps) - 1)
    return mean <= math.sqrt(variance / len(gaps))


def _last_temperature(held_out: Sequence[Scores], answers: Sequence[str], labels: Sequence[str]) -> float:
    """Find the sharpness that makes held-out predictions most likely."""
    widths = Widths(sharpness=_LAST)
    fitted = regress([_logs(row) for row in held_out], answers, labels=labels, features=(), widths=widths)
    return fitted.outputs[0].weights[0][1]


def _logs(row: Mapping[str, float]) -> dict[str, float]:
    return {label: math.log(max(chance, 1e-12)) for label, chance in row.items()}


def _mean(several: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {label: sum(row[label] for row in several) / len(several) for label in several[0]}


def _shares(answers: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    return {label: (answers.count(label) + 1) / (len(answers) + len(labels)) for label in labels}


def _checked_labels(scores: Sequence[Scores], answers: Sequence[str], labels: Sequence[str] | None) -> tuple[str, ...]:
    if len(scores) != len(answers) or not scores:
        raise InputError(f"{len(scores)} rows of scores do not pair up with {len(answers)} answers; give one of each.")
    names = tuple(labels or scores[0])
    for row, answer in enumerate(answers):
        if answer not in names:
            raise InputError(f"The answer {answer!r} is none of the labels {list(names)}; correct it.", row=row)
    return names
