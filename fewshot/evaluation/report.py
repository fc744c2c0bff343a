"""What an evaluation found: figures with intervals, what they cost, and every row to look at again.

A report is a value: saved as JSON it comes back whole, and two of the same rows can be compared.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from fewshot._storage import write_atomic
from fewshot.calibration.abstention import Threshold, coverage_table
from fewshot.data.labelled import Labelled
from fewshot.errors import ConfigError, InputError
from fewshot.evaluation.intervals import Comparison, Figure, compare
from fewshot.evaluation.metrics import confusion, macro_f1, over
from fewshot.evaluation.parts import by_label, micro_f1, of_field
from fewshot.evaluation.predictions import PRIMARY, Prediction
from fewshot.models.pricing import spending
from fewshot.outputs.kinds import Kind
from fewshot.result import plain
from fewshot.types import Usage

__all__ = ["Mistake", "Point", "Report", "comparison_table"]

_FORMAT = 1
_TRIES = re.compile(r" \(after \d+ requests\)")


@dataclass(frozen=True, slots=True)
class Point:
    """The main score with k shots; `draws` holds the score of each draw of shots."""

    k: int
    score: Figure
    draws: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {"k": self.k, **self.score.to_dict(), "draws": list(self.draws)}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer with a high confidence: the row, and the whole prompt that led to it."""

    row: int
    prompt: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome of `Task.evaluate`."""

    task: str
    """Name, version and content hash."""
    kind: Kind
    model: str
    form: str
    select: str
    k: int
    """How many shots the prompt held; with several asked for, `metrics` are for the last."""
    labels: tuple[str, ...] = ()
    metrics: Mapping[str, Figure]
    predictions: tuple[Prediction, ...]
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    """US dollars for the rows of `metrics`; None when the price is not known."""
    seconds: float = 0.0
    spent: Mapping[str, Any] = field(default_factory=dict)
    """Usage, cost and seconds of everything: calibration, curve and consistency included."""
    methods: Mapping[str, int] = field(default_factory=dict)
    """How many answers came in which way (`Result.method`)."""
    curve: tuple[Point, ...] = ()
    calibration: Mapping[str, Any] | None = None
    promise: Mapping[str, Any] | None = None
    """The threshold that promises the risk asked for; see `fewshot.calibration.abstention.Threshold`."""
    mistakes: tuple[Mistake, ...] = ()
    notes: tuple[str, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict)
    """When and of what it was made: `date` (UTC), `data` (a file), `endpoint`, and `command` on the command line."""

    # -- figures --------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """How many rows were evaluated, failed ones included."""
        return len(self.predictions)

    @property
    def failed(self) -> int:
        """How many rows came to an error; each counts as wrong."""
        return sum(p.error is not None for p in self.predictions)

    @property
    def primary(self) -> str:
        """The name of the main score."""
        return PRIMARY[self.kind]

    @cached_property
    def confusion(self) -> dict[str, dict[str, int]] | None:
        """Counts of rows by the right label and the one given; `(abstained)` and `(failed)` are columns too."""
        if self.kind != "labels" or not self.predictions:
            return None
        said = ["(failed)" if p.error else "(abstained)" if p.abstained else str(p.value) for p in self.predictions]
        counts = confusion([p.truth for p in self.predictions], said)
        columns = [*self.labels, *(extra for extra in ("(abstained)", "(failed)") if extra in said)]
        return {truth: {c: counts.get(truth, {}).get(c, 0) for c in columns} for truth in self.labels}

    @cached_property
    def by_label(self) -> dict[str, dict[str, Any]] | None:
        """Of a task that gives sets of labels precision, recall, F1 and calibration error (`ece`) of each label."""
        if self.kind != "label_set" or not self.predictions:
            return None
        said = [p.value or [] for p in self.predictions]
        return by_label(
            self.labels, [p.truth for p in self.predictions], said, [p.probabilities for p in self.predictions]
        )

    @cached_property
    def by_field(self) -> dict[str, dict[str, Any]] | None:
        """Of a task that gives records accuracy, and AUROC and ECE of the confidence, of each field."""
        names = dict.fromkeys(name for p in self.predictions for name in p.fields)
        return {n: of_field([p.fields.get(n, (None, False)) for p in self.predictions]) for n in names} or None

    @cached_property
    def chances(self) -> list[tuple[float, bool]]:
        """Confidence and rightness of each row; empty where there are no confidences."""
        if all(p.confidence is None for p in self.predictions):
            return []
        return [p.chance for p in self.predictions]

    @property
    def abstentions(self) -> dict[str, Any]:
        """How abstaining works out: rows held back, accuracy by coverage, what was promised."""
        held = sum(p.abstained for p in self.predictions)
        given = [p for p in self.predictions if not p.abstained]
        wrong = sum(p.scores[self.primary] < 1 for p in given)
        confidences, right = [c for c, _ in self.chances], [r for _, r in self.chances]
        return {
            "abstained": held,
            "coverage": len(given) / max(self.rows, 1),
            "error": wrong / len(given) if given else 0.0,
            "table": [point.to_dict() for point in coverage_table(confidences, right)],
            "promise": None if self.promise is None else dict(self.promise),
        }

    # -- as JSON --------------------------------------------------------------------------------------------------

    def to_dict(self, *, predictions: bool = True) -> dict[str, Any]:
        """Give everything as plain JSON values, the rows too unless `predictions` is False."""
        from pydantic_core import to_jsonable_python

        own = {name: getattr(self, name) for name in _WRITTEN if predictions or name != "predictions"}
        found: dict[str, Any] = to_jsonable_python(own, fallback=str)
        return found | {
            "format": _FORMAT,
            "rows": self.rows,
            "failed": self.failed,
            "confusion": self.confusion,
            "by_label": self.by_label,
            "by_field": self.by_field,
            "abstentions": self.abstentions,
            "curve": [point.to_dict() for point in self.curve],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Read what `to_dict` gave with predictions.

        Raises:
            InputError: this is not one.
        """
        from pydantic import TypeAdapter

        if isinstance(data, Mapping) and data.get("format", _FORMAT) != _FORMAT:
            raise InputError(f"a report of format {data['format']!r} was written by another version: evaluate again")
        try:
            curve = [{**point, "score": point} for point in data["curve"]]
            given = {name: data[name] for name in _WRITTEN if name != "made"} | {"made": data.get("made", {})}
            read = {**given, "curve": curve, "promise": data["abstentions"]["promise"]}
            report = TypeAdapter(cls).validate_python(read)
            if not all(p.scores for p in report.predictions):
                raise ValueError("a row without a score")
        except (KeyError, TypeError, ValueError) as error:
            what = "this is not a report with its rows"
            raise InputError(f"{what} ({error!r:.200}); save one with Report.save or `fewshot eval --out`") from error
        return report

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """Read a saved report; raises InputError when the file holds none."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"{os.fspath(path)} cannot be read as a report: {error.strerror}; name one that is there"
            ) from error
        except (ValueError, RecursionError) as error:
            message = f"{os.fspath(path)} cannot be read as a report: {error}; save one with `fewshot eval --out`"
            raise InputError(message) from error
        try:
            return cls.from_dict(data)
        except InputError as error:
            raise InputError(f"{os.fspath(path)}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report: `.html` as a page, `.svg` as a picture of the curve over k, else JSON with all rows.

        Raises:
            InputError: a picture is wanted, and only one k was measured. ConfigError: the file cannot be written.
        """
        path = Path(path)
        text = self._text(path.suffix.lower())
        try:  # half a character, which a row may hold, is written as JSON escapes it
            with write_atomic(path) as scratch:
                scratch.write_text(text, encoding="utf-8", errors="backslashreplace")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"{path} cannot be written: {reason}; name another place") from error

    def _text(self, suffix: str) -> str:
        if suffix in (".html", ".htm"):
            return self.to_html()
        if suffix == ".svg":
            from fewshot.evaluation.report_html import picture

            return picture(self)
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, default=str) + "\n"

    # -- for people -----------------------------------------------------------------------------------------------

    def to_html(self) -> str:
        """Give a page that needs nothing else: plots, tables and the most confident mistakes."""
        from fewshot.evaluation.report_html import page

        return page(self)

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own so that its style stays inside."""
        style = "width:100%;height:640px;border:1px solid #8884"
        return f'<iframe srcdoc="{html.escape(self.to_html())}" style="{style}"></iframe>'

    def __str__(self) -> str:
        head = f"{self.task}  {self.model}  k={self.k}  {self.rows} rows"
        lines = [head + (f", {self.failed} failed (counted as wrong)" if self.failed else "")]
        width = max(map(len, self.metrics), default=0)
        lines += [f"  {name:<{width}}  {_shown(figure)}" for name, figure in self.metrics.items()]
        lines += [_of_part(name, about) for name, about in (self.by_label or self.by_field or {}).items()]
        if len(self.curve) > 1:
            lines.append(f"  {self.primary} by number of shots")
            lines += [f"    k={point.k:<4} {_shown(point.score)}  draws: {len(point.draws)}" for point in self.curve]
        lines += [] if self.promise is None else [f"  {_promised(self.promise)}"]
        lines.append(f"  {self.spending}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, *(f"  {name}: {what}" for name, what in self._footnotes)])

    @property
    def _footnotes(self) -> list[tuple[str, str]]:
        """What those figures mean whose names are known to few."""
        from fewshot.evaluation.report_html import ABOUT

        return [(name, ABOUT[name]) for name in ("nll", "ece", "ece_by_chance") if name in self.metrics]

    @property
    def spending(self) -> str:
        """Tokens, money and time in one line."""
        return spending(self.usage, self.cost, self.seconds)

    @property
    def errors(self) -> list[tuple[str, int]]:
        """The errors of failed rows with how often each came, the most frequent first, whatever tries each took."""
        return Counter(_TRIES.sub("", p.error) for p in self.predictions if p.error is not None).most_common()

    # -- against another ------------------------------------------------------------------------------------------

    def compare(self, other: Report | str | os.PathLike[str]) -> dict[str, Comparison]:
        """Tell by how much this run is above another on the same rows, for each score, paired row by row.

        Raises:
            InputError: the other run was over other rows, or is not a report.
        """
        base = other if isinstance(other, Report) else Report.load(other)
        base.check_rows(self.predictions)
        names = [name for name in self.predictions[0].scores if all(name in p.scores for p in base.predictions)]
        found = {n: compare(_scores(base, n), _scores(self, n)) for n in names}
        if self.kind == "labels":
            found["macro_f1"] = compare(_pairs(base), _pairs(self), over(macro_f1), samples=500)
        if self.kind == "label_set":
            found["micro_f1"] = compare(_sets(base), _sets(self), over(micro_f1), samples=500)
        return found

    def check_rows(self, rows: Sequence[Labelled] | Sequence[Prediction]) -> None:
        """Raise `InputError` where a run over these rows could not be compared with this one, since it had others."""
        if [_row(p) for p in self.predictions] != [_row(row) for row in rows]:
            message = f"the runs have different rows ({self.rows} and {len(rows)}): evaluate both on the same data"
            raise InputError(message)


_WRITTEN = tuple(f.name for f in fields(Report) if f.name not in ("curve", "promise"))
"""What stands in a saved report as it does here."""


def comparison_table(comparisons: Mapping[str, Comparison]) -> str:
    """Write a comparison as lines for a person."""
    width = max(map(len, comparisons), default=0)
    lines = []
    for name, c in comparisons.items():
        p_value = "p<0.001" if c.p_value < 0.001 else f"p={c.p_value:.3f}"
        lines.append(f"  {name:<{width}}  {c.difference:+.3f} [{c.low:+.3f}, {c.high:+.3f}]  {p_value}")
    return "\n".join(lines)


def _of_part(name: str, about: Mapping[str, Any]) -> str:
    shown = "  ".join(f"{n} {value:.3f}" for n, value in about.items() if n != "rows" and value is not None)
    return f"  {name!r}: {shown}  ({about['rows']} rows)"


def _promised(promise: Mapping[str, Any]) -> str:
    """Tell what was promised of the answers that were given, or why nothing was."""
    if promise["threshold"] is None:
        return f"nothing was answered: {promise['reason']}"
    found = Threshold(**promise)
    least = "" if found.fields else f" (at a probability of {found.threshold:.3f} or more)"
    return f"promised on {found.rows:,} other rows: {found.sentence}{least}"


def _shown(figure: Figure) -> str:
    return f"{figure.value:7.3f}  [{figure.low:.3f}, {figure.high:.3f}]"


def _row(row: Labelled | Prediction) -> str:
    return json.dumps([row.inputs, plain(row.truth), row.references], sort_keys=True, default=str)


def _scores(report: Report, name: str) -> list[float]:
    return [p.scores[name] for p in report.predictions]


def _sets(report: Report) -> Sequence[tuple[Any, Any]]:
    return [(p.truth, p.value or []) for p in report.predictions]


def _pairs(report: Report) -> Sequence[tuple[Any, Any]]:
    return [(p.truth, None if p.error else p.top) for p in report.predictions]
