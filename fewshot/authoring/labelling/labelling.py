"""One person's labelling of texts: what comes next, labels, and what they have bought; the page and code share it."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewshot._checks import check_kind
from fewshot.authoring.labelling.label_tools import Tool, exported
from fewshot.authoring.labelling.learned import Learned, parts_of
from fewshot.authoring.labelling.records import Label, LabelFile, Status, Text
from fewshot.authoring.labelling.rows import text_of, texts_of
from fewshot.calibration.abstention import check_promise
from fewshot.data.examples import answer_in
from fewshot.data.formats import flat, gold
from fewshot.data.labelled import GoldRows, read_labelled
from fewshot.data.readers import read
from fewshot.errors import FewshotError, InputError
from fewshot.prompts.prompt import check_characters
from fewshot.result import Result, plain
from fewshot.task import Task

__all__ = ["Labelling"]

_log = logging.getLogger("fewshot")
_MOST_SHOTS = 32


class Labelling:
    """Label texts one after the other, in a random order; stop whenever, and go on with the same arguments.

    >>> session = Labelling(task, "texts.csv", "labels.jsonl")  # doctest: +SKIP
    >>> session.next().inputs, session.label("positive"), session.figures()  # doctest: +SKIP

    Arguments:
        task: what the labels are for.
        rows: a file of any kind that is read, texts, dicts or a data frame.
        path: where labels are kept, one person's; made if it is not there, for nobody else to read.
        annotator: who labels, as agreement names them.
        risk: the share of errors to promise among the answers that the task will give.
        columns: for an input the column that holds it, where their names differ.
        encoding: of a file that is not UTF-8.

    Raises:
        InputError: rows or labels cannot be read, or an argument is not valid. ConfigError: labels cannot be written.
    """

    def __init__(
        self,
        task: Task[Any],
        rows: Any,
        path: str | os.PathLike[str],
        *,
        annotator: str = "",
        risk: float = 0.1,
        columns: Mapping[str, str] | None = None,
        encoding: str | None = None,
    ) -> None:
        check_kind("task", task, Task, what="a task, as `load` gives it")
        check_kind("annotator", annotator, str, what="a name")
        check_promise(risk, 0.95)
        # What is asked again as labels come has mostly been answered; a client of one's own may be of any kind.
        self.task = task if task.settings.client is not None else task.using(cache=True)
        self.annotator, self.risk = annotator, risk
        self.texts, self.left_out = texts_of(task, rows, columns, encoding)
        self._columns, self._encoding = columns, encoding
        self._file = LabelFile(path)
        for label in self.labels.values():
            if label.status == "label":
                try:
                    task.output.check_for(answer_in(task.output, label.value), label.inputs)
                except ValueError as error:
                    message = f"{path}: the label of row {label.id} is not one that {task.name} can answer: {error}"
                    raise InputError(f"{message}; take back what was changed, or begin another file") from error
        self._guesses: dict[str, dict[str, Any]] = {}
        self._current: Text | None = None
        self._lock = threading.RLock()
        self.problem = ""
        """Why the model could not be asked, the last time."""

    @property
    def labels(self) -> Mapping[str, Label]:
        """What was said of texts, by their keys, the last at the end."""
        return self._file.labels

    def next(self) -> Text | None:
        """Give the text to label now, the same until something is said of it; None when none is left.

        They come in a random order; when there are shots enough, without those that would become one. A skipped text
        comes again when all others are done.
        """
        with self._lock:
            self._current = self._current or self._choose()
            return self._current

    def label(
        self, value: Any = None, *, status: Status = "label", note: str = "", key: str | None = None, seen: bool = False
    ) -> Label:
        """Say something of the text; it is on the disk when this returns.

        Arguments:
            value: what the task should answer.
            status: `skip` puts the text off; `cannot_tell` has it counted, and left out of figures and files.
            note: for whoever reads the labels.
            key: of the text that is meant, to be sure that it is the one to label now.
            seen: whether the model's guess was shown.

        Raises:
            InputError: the task cannot answer so, or another text is to be labelled now.
        """
        check_kind("note", note, str, what="a text")
        check_characters(f"{note}{value}")
        with self._lock:
            text = self.next()
            if text is None or key not in (None, text.key):
                message = "there is no text left to label" if text is None else "another text is to be labelled now"
                raise InputError(f"{message}: load the page again")
            if status == "label":
                value = plain(self.task.output.check_for(answer_in(self.task.output, value), text.inputs))
            elif status not in ("skip", "cannot_tell") or value is not None:
                raise InputError(f"status={status!r} must be label, skip or cannot_tell, and only a label has a value")
            label = Label(
                **vars(text), status=status, value=value, note=note, annotator=self.annotator,
                guess=self._guesses.get(text.key), seen=bool(seen),
            )  # fmt: skip
            self._file.keep(label)
            self._current = None
            return label

    def undo(self, said: int | None = None) -> Text:
        """Take back what was said last; its text comes next.

        Arguments:
            said: how many labels there are, to be sure that none has come since.

        Raises:
            InputError: there is none to take back, or there are others.
        """
        with self._lock:
            if said not in (None, len(self.labels)):
                raise InputError("another label has been given since: load the page again")
            self._current = _text(self._file.undo())
            return self._current

    def guess(self) -> dict[str, Any] | None:
        """Ask the model about the text to label now; None where it cannot be asked, for which `problem` says why."""
        current = self.next()
        if current is None:
            return None
        self.problem = ""  # asked without the lock: a label need not wait for it
        self._ask([current])
        return self._guesses.get(current.key)

    def figures(self) -> dict[str, Any]:
        """Tell what the labels have bought; see `Learned.figures`."""
        return self.learned().figures()

    def learned(self) -> Learned:
        """Take the labels up in the task: shots, a calibration, test rows."""
        with self._lock:
            return Learned(self.task, self.risk, parts_of(self.texts, self.labels), tuple(self.labels.values()))

    def write(self, name: str | None = None) -> list[Path]:
        """Write the task's files, and go on with the task as they are now; see `Learned.write`."""
        with self._lock:
            learned = self.learned()
            files = learned.write(name)
            folder = files[0].parent if files else self.task.path
            self.task = replace(learned.with_shots, path=folder, name=folder.name if folder else self.task.name)
            return files

    def read(self, path: str | os.PathLike[str], *, target: str | None = None) -> int:
        """Take over the labels of an export of Label Studio or Argilla, or any labelled file; gives how many.

        What this package exported comes back as it was, with what was said of it since.

        Arguments:
            target: the column or question that holds the label, see `Task.evaluate`.

        Raises:
            InputError: the file cannot be read, an answer is not one of the task's, or a text has two that differ.
        """
        check_kind("path", path, str, os.PathLike, what="the path of an export")
        where, found = os.fspath(path), dict[str, Label]()
        records = list(read(Path(path), encoding=self._encoding))
        for _, record in records:
            row, why = flat(record) if isinstance(record, Mapping) else ({}, "")
            kept = _record_of(row, where) if why else None
            if kept is not None and (kept.status != "label" or kept.value is None):
                found[kept.key] = kept
        tell = None if found else _log.warning
        rows = GoldRows(where, [(number, row) for number, _, row in gold(records, where, tell=tell)])
        if not rows.rows and not found:
            raise InputError(f"{where}: there are no labelled rows")
        golds = read_labelled(self.task, rows, target=target, columns=self._columns) if rows.rows else []
        for record, one in zip(rows.records, golds, strict=True):
            text, kept = text_of(self.task, one.inputs, one.id), _record_of(record, where)
            if kept is None or kept.key != text.key:
                kept = Label(**vars(replace(text, by="import")), status="label", annotator=self.annotator)
            label = replace(kept, status="label", value=plain(one.truth))
            before = found.setdefault(label.key, label)
            if (before.status, before.value) != (label.status, label.value):
                raise InputError(f"{where}: rows {before.id} and {label.id} ask the same and differ: keep one of them")
        with self._lock:
            for label in found.values():
                if self.labels.get(label.key) != label:
                    self._file.keep(label)
            self._current = None
        return len(found)

    def export(self, tool: Tool) -> list[dict[str, Any]]:
        """Give all texts for a label tool, with the model's answers as predictions and the labels as annotations.

        Raises:
            InputError: the tool has no question for such outputs.
        """
        exported(tool, self.task.output, ())  # before anything is asked
        with self._lock:
            texts: dict[str, Text] = {text.key: text for text in self.texts} | dict(self.labels)
            self.problem = ""
            self._ask(list(texts.values()))
            guesses = [self._guesses.get(key) or getattr(text, "guess", None) for key, text in texts.items()]
            return exported(tool, self.task.output, zip(texts.values(), guesses, strict=True))

    def _choose(self) -> Text | None:
        shots = sum(label.status == "label" and label.part == "shot" for label in self.labels.values())
        enough = shots >= min(_MOST_SHOTS, max(8, 4 * len(self.task.output.labels or ())))
        left = [text for text in self.texts if text.key not in self.labels]
        wanted = [text for text in left if not (enough and text.part == "shot")] or left
        if wanted:
            return replace(wanted[0], chance=1 / len(wanted))
        return next((_text(label) for label in self.labels.values() if label.status == "skip"), None)

    def _ask(self, texts: Sequence[Text]) -> None:
        """Have the model's answers for texts; why it cannot be asked is told in `problem`, and labelling goes on."""
        missing = [text for text in texts if text.key not in self._guesses]
        try:
            for text, result in zip(missing, self.task.map([dict(text.inputs) for text in missing]), strict=True):
                if result.error is None:
                    self._guesses[text.key] = _guess(result)
                else:
                    self.problem = " ".join(str(result.error).split())
        except FewshotError as error:
            self.problem = " ".join(str(error).split())


def _text(label: Label) -> Text:
    """Give the text of a label as it was chosen then."""
    return Text(key=label.key, id=label.id, inputs=label.inputs, by=label.by, chance=label.chance)


def _record_of(row: Mapping[str, Any], where: str) -> Label | None:
    """Read the record that was exported beside a row, where there is one."""
    try:
        return Label.from_dict(json.loads(row["fewshot"])) if "fewshot" in row else None
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: the record `fewshot` beside a row is not as it was exported: {error}") from error


def _guess(result: Result[Any]) -> dict[str, Any]:
    """Give an answer as it is kept, one that was held back included."""
    about = result.to_dict()
    chances = about["probabilities"]
    value = max(chances, key=chances.__getitem__) if chances and about["value"] is None else about["value"]
    return {"value": value, "confidence": result.confidence, "probabilities": chances, "model": result.model}
