"""What labels have bought: a task that has learned from them, measured as `fewshot eval` does, and its files."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fewshot._checks import check_kind
from fewshot._storage import write_atomic
from fewshot.authoring.check import CALIBRATION_FILE, TEST_FILE
from fewshot.authoring.check_spec import PLACEHOLDER
from fewshot.authoring.labelling.records import Label, Part, Text
from fewshot.calibration.abstention import Threshold, threshold_for
from fewshot.data.labelled import Labelled, as_examples, read_labelled
from fewshot.data.readers import read
from fewshot.errors import FewshotError, InputError
from fewshot.evaluation.intervals import Figure, average
from fewshot.evaluation.rows_to_judge import apart
from fewshot.folders.loader import NAME, examples_file, ships
from fewshot.folders.writer import check_writable, kept_copy, rewrite, save, write_fit
from fewshot.prompts.selection import choose
from fewshot.task import Task

__all__ = ["Learned", "parts_of"]

_log = logging.getLogger("fewshot")
_HALF = 0.5
"""The share of answers that the number of further labels is told for."""
_LEAST, _MOST = 10, 2_000
"""Test rows from which on that number is told, and the most calibration rows that are thought of."""


def parts_of(texts: Sequence[Text], labels: Mapping[str, Label]) -> dict[Part, list[Label]]:
    """Part the labels by what their texts become: by rule, so that no text is ever two of them.

    Those for calibration and tests are taken in the random order up to the first text of which nothing has been said:
    whoever labelled further ones, by an import, say, chose them otherwise.
    """
    found: dict[Part, list[Label]] = {"shot": [], "calibration": [], "test": []}
    for label in labels.values():
        if label.status == "label" and label.part == "shot":
            found["shot"].append(label)
    for text in (text for text in texts if text.part != "shot"):
        if text.key not in labels:
            break
        if labels[text.key].status == "label":
            found[text.part].append(labels[text.key])
    return found


@dataclass(frozen=True)
class Learned:
    """A task and the labels that are taken up in it."""

    task: Task[Any]
    risk: float
    parts: Mapping[Part, Sequence[Label]]
    labels: Sequence[Label]

    @cached_property
    def with_shots(self) -> Task[Any]:
        """The task with the labelled shots before its own, labels in turn, without placeholders of `fewshot new`."""
        own = [example for example in self.task.examples if PLACEHOLDER not in str(dict(example.inputs))]
        new = apart(self.task, self._rows("shot"), (example.inputs for example in own))
        if not new:
            return self.task
        shots, order = (*as_examples(new), *own), "balanced" if self.task.output.kind == "labels" else "first"
        return self.task.using(examples=choose(shots, None, order))

    @cached_property
    def fitted(self) -> tuple[Task[Any], Threshold | None, str]:
        """The task calibrated on the calibration rows; the promise, and why there is none of them."""
        rows, task = self._rows("calibration"), self.with_shots
        if not rows:
            return task, None, "there is no row to calibrate on yet"
        if task.promise is not None:  # that of an earlier fit
            task = replace(task, promise=None, settings=replace(task.settings, min_confidence=None))
        try:
            found = task.calibrate(rows, risk=self.risk)
            threshold = None if found.fitted is None else found.fitted.threshold
            if threshold is not None and math.isinf(threshold.threshold):  # it would hold every answer back
                found = task.calibrate(rows) if task.output.labels or task.output.closed_fields else task
        except FewshotError as error:
            return task, None, f"not calibrated: {' '.join(str(error).split())}"
        return found, threshold, threshold.reason if threshold is not None else ""

    def figures(self) -> dict[str, Any]:
        """Tell what has been bought, as JSON values: those of `fewshot eval` on the test rows, once it is written.

        Returns:
            `labelled`, `skip` and `cannot_tell` (counts), `parts` (how many labels each has), `waiting` (labels that
            figures leave out, see `parts_of`), `metric` and `accuracy` and `coverage` at `risk` (each with its 95%
            interval; None before there are test rows), `more` (about how many labels more until half of the answers
            can be given at that risk; None where that is not known), and `told`, in words.
        """
        counts = Counter(label.status for label in self.labels)
        parts = {part: len(labels) for part, labels in self.parts.items()}
        found: dict[str, Any] = {
            "labelled": counts["label"], "skip": counts["skip"], "cannot_tell": counts["cannot_tell"], "parts": parts,
            "waiting": counts["label"] - sum(parts.values()), "risk": self.risk,
            "metric": None, "accuracy": None, "coverage": None, "more": None, "told": [],
        }  # fmt: skip
        tests = self._rows("test")
        if not tests:
            return found | {"told": ["there is no test row yet"]}
        task, threshold, why = self.fitted
        report = task.evaluate(tests)
        held = threshold is None or math.isinf(threshold.threshold)
        given = [float(not prediction.abstained) for prediction in report.predictions]
        coverage = Figure(0.0, 0.0, 0.0) if held else average(given)
        more, have = None, parts["calibration"]
        if coverage.value >= _HALF:
            more = 0
        elif report.rows >= _LEAST and (rows := _calibration_rows(report.chances, self.risk, have)):
            more = math.ceil(1.5 * (rows - have))  # two of three texts at random calibrate
        told = [why] if why else [threshold.sentence] if threshold is not None else []
        if more is None and report.rows >= _LEAST:
            told.append("more labels alone will not do: mend the prompt, take another model, or allow more risk")
        return found | {
            "metric": report.primary, "accuracy": report.metrics[report.primary].to_dict(),
            "coverage": coverage.to_dict(), "more": more, "told": [*told, *report.notes],
        }  # fmt: skip

    def write(self, name: str | None = None) -> list[Path]:
        """Write examples, calibration rows, test rows and the fit into the task's own folder.

        What an author's file held is kept beside it, as `.bak`.

        Arguments:
            name: make a copy of the task in `templates/` under this name, and write there.

        Returns:
            The files that were written.

        Raises:
            InputError: the task ships with a package or was made in code, and there is no name; or the folder is
                not as it was.
        """
        task = self.task
        if name is not None:
            check_kind("name", name, str, what="the name of a copy")
            if not NAME.match(name):
                raise InputError(f"{name!r} is not a task name: use lower-case letters, digits, _ and -", field="name")
            Path("templates").mkdir(exist_ok=True)
            task = replace(task, path=save(task, Path("templates") / name).absolute())
        elif task.path is None or ships(task.path):
            whose = "was made in code" if task.path is None else "ships with a package"
            raise InputError(f"{task.name} {whose}: give a name (--as NAME) for a copy in templates/", field="name")
        assert task.path is not None  # noqa: S101 - one without has been refused
        check_writable(task)
        folder, files = task.path, []
        fitted, _, why = self.fitted  # asked before anything is written
        if self.with_shots is not self.task:
            rewrite(task, replace(self.with_shots, path=folder), by="labelled")
            files.append(examples_file(folder) or folder)
        for part, file in (("calibration", CALIBRATION_FILE), ("test", TEST_FILE)):
            if rows := self.parts[part]:  # type: ignore[index]  # both are parts
                _write_rows(folder / file, rows)
                files.append(folder / file)
        if why:
            _log.warning("%s: %s", "no fit is written" if fitted.fitted is None else "the fit promises nothing", why)
        return files if fitted.fitted is None else [*files, write_fit(replace(fitted, path=folder))]

    def _rows(self, part: Part) -> list[Labelled]:
        rows = [_row(label) for label in self.parts[part]]
        return list(read_labelled(self.task, rows, target="output")) if rows else []


def _row(label: Label) -> dict[str, Any]:
    return {**label.inputs, "output": label.value, "id": label.id}


def _write_rows(path: Path, labels: Sequence[Label]) -> None:
    """Write labelled rows; a file that holds others is kept beside itself."""
    rows = [_row(label) for label in labels]
    if path.is_file() and any(row not in rows for _, row in read(path)):
        kept_copy(path)
    with write_atomic(path) as scratch:
        lines = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
        scratch.write_text(lines, encoding="utf-8", newline="")


def _calibration_rows(chances: Sequence[tuple[float, bool]], risk: float, have: int) -> int | None:
    """Tell about how many rows, more than there are, it takes to promise a risk for half of the answers.

    The rows stand for all: as many as are thought of are taken from them, in equal steps from the surest on. None where
    that is too many.
    """
    pairs = sorted(chances, key=lambda pair: -pair[0])  # equal ones stay in their order, which is random
    rows = max(_LEAST, have)
    while (rows := math.ceil(rows * 1.2)) <= _MOST:
        taken = [pairs[int((place + 0.5) * len(pairs) / rows)] for place in range(rows)]
        # Equal ones would be accepted together or not at all, so each copy is a little less sure than the one before.
        sure = [value - place * 1e-9 for place, (value, _) in enumerate(taken)]
        if threshold_for(risk, sure, [right for _, right in taken]).coverage >= _HALF:
            return rows
    return None
