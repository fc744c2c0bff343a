"""Turn the label scores of a prompt into probabilities that can be believed.

A few-shot model favours some labels whatever the input is: those that came last, or often, or that are frequent
words (Zhao et al. 2021, arXiv 2102.09690). Each remedy known is an affine map of the log-probabilities followed by
softmax, so one frozen class holds them all, and what one calibration does after another is again of that class.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from fewshot._checks import brief
from fewshot.errors import ConfigError, InputError

__all__ = [
    "NONE",
    "Calibration",
    "Output",
    "Running",
    "batch",
    "both_ways",
    "check_prior",
    "contextual",
    "normalise",
    "temperature",
]

Scores = Mapping[str, float]

_FLOOR = -30.0
"""A label that the service did not list counts as this likely at most (natural log)."""
_CEILING = 1e9
_NEAR = 0.1
"""How far the labels' share of the probability may be from those that a calibration was fitted at."""


@dataclass(frozen=True, slots=True)
class Output:
    """How one label is scored: `bias` plus each named feature times its weight."""

    label: str
    bias: float = 0.0
    weights: tuple[tuple[str, float], ...] = ()
    least: float = 0.5
    """The probability from which on a label of a set is given."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map from scores to probabilities: affine in its features, then softmax.

    The features are the natural-log probabilities of the labels, under the names of the labels, and whatever else it
    was fitted on. With no outputs it only renormalises. Where labels are `independent`, any of which may hold, each
    score goes through the logistic function instead, and its features are those that `both_ways` gives.
    """

    name: str = "none"
    outputs: tuple[Output, ...] = ()
    shares: tuple[float, float] | None = None
    """The least and the largest share of the probability that the labels held on the rows that it was fitted on."""
    independent: bool = False
    parts: tuple[tuple[str, Calibration], ...] = ()
    """Of a record a calibration for each closed field, whose labels are its values as JSON writes them."""
    rows: int = 0
    """Labelled rows that it was fitted on: nothing is surer than so many can tell. 0 where no row was labelled."""
    encoder: str = ""
    """The sentence encoder whose vectors are among the features, where one is: no other's fit."""

    def holds_at(self, share: float) -> bool:
        """Tell whether it was fitted near this share of the probability, as the labels hold it now."""
        return self.shares is None or self.shares[0] - _NEAR <= share <= self.shares[1] + _NEAR

    @property
    def other_encoder(self) -> str:
        """Say why it is not used where another sentence encoder is installed, or none."""
        what = f"it was fitted with the sentence encoder {self.encoder}, which is not here"
        return f"{what}: install fewshot[encoder], or calibrate again"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it gives probabilities to; empty when it takes any."""
        return tuple(output.label for output in self.outputs)

    @property
    def features(self) -> tuple[str, ...]:
        """The features that it needs beside the labels' own log-probabilities."""
        names = {name: None for output in self.outputs for name, _ in output.weights}
        for label in self.labels:
            names.pop(label, None)
            names.pop(f"not {label}" if self.independent else "", None)
        return tuple(names)

    def apply(self, logprobs: Scores) -> dict[str, float]:
        """Give the probability of each label: positive or zero, summing to 1 unless they are independent.

        A log-probability may be -inf. A score that is missing raises `InputError`.
        """
        scores = self.scores(logprobs)
        if self.independent:
            return {label: self.bounded(softmax({"": 0.0, label: s}))[label] for label, s in scores.items()}
        return self.bounded(softmax(scores))

    def bounded(self, probabilities: Scores) -> dict[str, float]:
        """Mix in one row that could have been any label: n rows without a mistake do not show less than 1 in n + 1.

        The rule of succession, with one row in all for its prior (Perks 1947, J. Inst. Actuaries 73). The order of
        probabilities stays as it is.
        """
        n = self.rows
        return {la: (n * p + 1 / len(probabilities)) / (n + 1) if n else p for la, p in probabilities.items()}

    def given(self, probabilities: Mapping[str, float]) -> tuple[str, ...]:
        """Choose the labels of a set: each that is as probable as it must be."""
        return tuple(output.label for output in self.outputs if probabilities[output.label] >= output.least)

    def scores(self, logprobs: Scores) -> dict[str, float]:
        """Give the score of each label before softmax."""
        if not self.outputs:
            return normalise(logprobs)
        labels = self.labels
        try:
            own = {label: logprobs[label] for label in labels}
            features = {**logprobs, **(own if self.independent else normalise(own))}
            return {
                output.label: output.bias + sum(weight * finite(features[name]) for name, weight in output.weights)
                for output in self.outputs
            }
        except KeyError as error:
            raise InputError(
                f"The calibration {self.name!r} needs a score for {error.args[0]!r}, got {sorted(logprobs)}; "
                "fit one for this prompt."
            ) from error

    def sharpened(self, by: float, *, name: str | None = None) -> Calibration:
        """Multiply every score by a positive number: divide by the temperature."""
        outputs = tuple(
            Output(o.label, o.bias * by, tuple((feature, weight * by) for feature, weight in o.weights))
            for o in self.outputs
        )
        return replace(self, name=name or self.name, outputs=outputs)

    def biased(self, bias: Mapping[str, float], *, name: str | None = None) -> Calibration:
        """Add to the score of each label, after all else."""
        outputs = tuple(replace(o, bias=o.bias + bias[o.label]) for o in self.outputs)
        return replace(self, name=name or self.name, outputs=outputs)

    def to_json(self) -> str:
        """Write it as one line of JSON that `from_json` reads back exactly."""
        more = {o.label: {"least": o.least} if self.independent else {} for o in self.outputs}
        outputs = {o.label: {"bias": o.bias, "weights": dict(o.weights)} | more[o.label] for o in self.outputs}
        about: dict[str, Any] = {"name": self.name, "shares": self.shares}
        about |= {"independent": True} if self.independent else {}
        about |= {"rows": self.rows} if self.rows else {}
        about |= {"encoder": self.encoder} if self.encoder else {}
        about |= {"parts": {name: json.loads(part.to_json()) for name, part in self.parts}} if self.parts else {}
        return json.dumps(about | {"outputs": outputs}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Calibration:
        """Read what `to_json` wrote; anything else raises `ConfigError`."""
        try:
            data = json.loads(text)
            outputs = tuple(_output(label, value) for label, value in data["outputs"].items())
            least, most = data.get("shares") or (0.0, 1.0)
            shares = (float(least), float(most)) if data.get("shares") else None
            parts = ((str(n), cls.from_json(json.dumps(part))) for n, part in (data.get("parts") or {}).items())
            rows = max(0, int(data.get("rows", 0)))
            independent, encoder = data.get("independent") is True, str(data.get("encoder", ""))
            return cls(str(data["name"]), outputs, shares, independent, tuple(parts), rows, encoder)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise ConfigError(f"This is not a calibration ({error!r}); fit it again.") from error


NONE = Calibration()
"""The probabilities as they come, renormalised."""


def temperature(labels: Iterable[str], by: float = 1.0) -> Calibration:
    """Divide all log-probabilities by one number (Guo et al. 2017, arXiv 1706.04599)."""
    if not by > 0:
        raise InputError(f"A temperature is above 0, not {by!r}.")
    return Calibration("temperature", tuple(Output(label, 0.0, ((label, 1 / by),)) for label in labels))


def batch(scores: Sequence[Scores], *, prior: Mapping[str, float] | None = None) -> Calibration:
    """Divide by the mean prediction over unlabelled inputs (batch calibration, Zhou et al. 2023, arXiv 2309.17249).

    About ten inputs do. The mean is the one of the log-probabilities. It supposes that the labels are about equally
    frequent among the inputs; pass their true `prior` where they are not.
    """
    return _prior("batch", _mean_scores(scores), prior)


def contextual(content_free: Sequence[Scores], *, prior: Mapping[str, float] | None = None) -> Calibration:
    """Divide by the mean prediction for inputs without content, such as "N/A" and "" (arXiv 2102.09690, section 4)."""
    if not content_free:
        raise InputError("Contextual calibration needs the scores of at least one input without content.")
    rows = [softmax(row) for row in content_free]
    means = {label: math.log(max(sum(row[label] for row in rows) / len(rows), 1e-300)) for label in rows[0]}
    return _prior("contextual", means, prior)


def check_prior(prior: Mapping[str, float], labels: Iterable[str]) -> None:
    """Raise `InputError` unless the prior gives each label a share above 0, summing to 1."""
    names = list(labels)
    numbers = isinstance(prior, Mapping) and all(isinstance(share, Real) for share in prior.values())
    sensible = numbers and set(prior) == set(names) and min(prior.values()) > 0
    if not sensible or not math.isclose(sum(prior.values()), 1, abs_tol=0.01):
        message = f"prior must give each of {', '.join(names)} a share above 0, summing to 1, not {brief(prior)}"
        raise InputError(message, field="prior")


class Running:
    """Batch calibration of a stream: each row is corrected by the mean of all rows seen so far, itself included.

    Ask for it on purpose: what a row gets depends on the rows before it.
    """

    def __init__(self, *, prior: Mapping[str, float] | None = None) -> None:
        self.rows = 0
        self._prior = prior
        self._sums: dict[str, float] = {}

    def add(self, logprobs: Scores) -> None:
        """Take one more row into the mean; raises InputError where the prior is not one of its labels."""
        if self._prior is not None and not self.rows:
            check_prior(self._prior, logprobs)
        for label, score in normalise(logprobs).items():
            self._sums[label] = self._sums.get(label, 0.0) + score
        self.rows += 1

    @property
    def mean(self) -> dict[str, float]:
        """The probabilities that the mean of the log-probabilities comes to."""
        return softmax({label: total / self.rows for label, total in self._sums.items()})

    def calibration(self) -> Calibration:
        """Freeze the correction as it stands."""
        if not self.rows:
            return NONE
        return _prior("running", {label: total / self.rows for label, total in self._sums.items()}, self._prior)


def normalise(logprobs: Scores) -> dict[str, float]:
    """Shift log-probabilities so that the probabilities sum to 1; -inf becomes a very small number."""
    scores = {label: finite(value) for label, value in logprobs.items()}
    top = max(scores.values(), default=0.0)
    shifted = {label: max(score - top, _FLOOR) for label, score in scores.items()}
    total = math.log(sum(map(math.exp, shifted.values()))) if shifted else 0.0
    return {label: value - total for label, value in shifted.items()}


def softmax(scores: Scores) -> dict[str, float]:
    """Give probabilities in proportion to the exponentials of the scores."""
    ordered = {label: finite(value) for label, value in scores.items()}
    top = max(ordered.values(), default=0.0)
    parts = {label: math.exp(max(score - top, -700.0)) for label, score in ordered.items()}
    total = sum(parts.values())
    return {label: part / total for label, part in parts.items()}


def both_ways(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Give the natural log of the probability that each label holds, and that it does not."""
    bounded = {label: min(max(p, 1e-9), 1 - 1e-9) for label, p in probabilities.items()}
    return {label: math.log(p) for label, p in bounded.items()} | {
        f"not {label}": math.log1p(-p) for label, p in bounded.items()
    }


def finite(value: float) -> float:
    """Bring a score into the range of ordinary numbers: -inf and not-a-number count as hopeless."""
    return min(value, _CEILING) if value > -_CEILING else -_CEILING


def _mean_scores(scores: Sequence[Scores]) -> dict[str, float]:
    """Average log-probabilities over inputs."""
    if not scores:
        raise InputError("Batch calibration needs the scores of some inputs, about ten or more.")
    rows = [normalise(row) for row in scores]
    return {label: sum(row[label] for row in rows) / len(rows) for label in rows[0]}


def _prior(name: str, means: Mapping[str, float], prior: Mapping[str, float] | None) -> Calibration:
    """Make the calibration that subtracts mean scores and, when the labels' true frequencies are known, adds them."""
    if prior is not None:
        check_prior(prior, means)
    known = {label: math.log(prior[label]) if prior else 0.0 for label in means}
    return Calibration(name, tuple(Output(la, known[la] - mean, ((la, 1.0),)) for la, mean in means.items()))


def _output(label: str, value: Mapping[str, Any]) -> Output:
    weights = tuple((str(name), float(weight)) for name, weight in value["weights"].items())
    return Output(label, float(value["bias"]), weights, float(value.get("least", 0.5)))
