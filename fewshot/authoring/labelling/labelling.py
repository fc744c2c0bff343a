"""One person's labelling of texts: what comes next, labels, and what they have bought; the page and code share it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fewshot._checks import check_kind
from fewshot.authoring.labelling.learned import Learned, parts_of
from fewshot.authoring.labelling.records import Label, LabelFile, Status
from fewshot.authoring.labelling.rows import Chosen, Text, by_doubt, text_of, texts_of
from fewshot.calibration.abstention import check_promise
from fewshot.data.examples import answer_in
from fewshot.data.formats import flat
from fewshot.data.label_tools import Exported, Tool, exported
from fewshot.data.labelled import gold_rows, read_labelled
from fewshot.data.readers import read
from fewshot.errors import FewshotError, InputError
from fewshot.result import Result, plain
from fewshot.task import Task

__all__ = ["Labelling"]

_CANDIDATES = 24
"""Texts that are asked about for a choice by doubt."""
_MOST_SHOTS = 32


class Labelling:
    """Label the texts that say most, one after the other; stop whenever, and go on with the same arguments.

    >>> session = Labelling(task, "texts.csv", "labels.jsonl")  # doctest: +SKIP
    >>> session.next().text.inputs, session.label("positive"), session.figures()  # doctest: +SKIP

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
        check_kind("path", path, str, os.PathLike, what="the path of a file for labels")
        check_promise(risk, 0.95)
        # What is asked again as labels come has mostly been answered; a client of one's own may be of any kind.
        self.task = task if task.settings.client is not None else task.using(cache=True)
        self.annotator, self.risk = annotator, risk
        self.texts, self.left_out = texts_of(task, rows, columns, encoding)
        self._file = LabelFile(Path(path))
        self._guesses: dict[str, dict[str, Any]] = {}
        self._current: Chosen | None = None
        self._lock = threading.RLock()
        self.problem = ""
        """Why the model could not be asked, the last time."""

    @property
    def labels(self) -> Mapping[str, Label]:
        """What was said of texts, by their keys, the last at the end."""
        return self._file.labels

    def next(self) -> Chosen | None:
        """Give the text to label now, the same until something is said of it; None when none is left.

        Two of three come at random, the third by doubt and diversity, until there are shots enough. A skipped text
        comes again when all others are done.
        """
        with self._lock:
            self._current = self._current or self._choose()
            return self._current

    def label(self, value: Any, *, note: str = "", key: str | None = None, seen: bool = False) -> Label:
        """Give the text its label; it is on the disk when this returns.

        Arguments:
            value: what the task should answer.
            note: for whoever reads the labels.
            key: of the text that is meant, to be sure that it is the one to label now.
            seen: whether the model's guess was shown.

        Raises:
            InputError: the task cannot answer so, or another text is to be labelled now.
        """
        text = self._meant(key).text
        wanted = plain(self.task.output.check_for(answer_in(self.task.output, value), text.inputs))
        return self._keep("label", key, value=wanted, note=note, seen=seen)

    def skip(self, *, note: str = "", key: str | None = None) -> Label:
        """Put the text off."""
        return self._keep("skip", key, note=note)

    def cannot_tell(self, *, note: str = "", key: str | None = None, seen: bool = False) -> Label:
        """Say that no label can be given; the text is counted, and left out of figures and files."""
        return self._keep("cannot_tell", key, note=note, seen=seen)

    def undo(self) -> Chosen:
        """Take back what was said last; its text comes next."""
        with self._lock:
            last = self._file.undo()
            self._current = _again(last)
            return self._current

    def guess(self) -> dict[str, Any] | None:
        """Ask the model about the text to label now; None where it cannot be asked, for which `problem` says why."""
        with self._lock:
            current = self.next()
            if current is None:
                return None
        self.problem = ""  # asked without the lock: a label need not wait for it
        self._ask([current.text])
        return self._guesses.get(current.text.key)

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

    def read(self, path: str | os.PathLike[str]) -> int:
        """Take over the labels of an export of Label Studio or Argilla, or any labelled file; gives how many.

        What this package exported comes back as it was, with what was said of it since.

        Raises:
            InputError: the file cannot be read, or an answer is not one of the task's.
        """
        with self._lock:
            labels = []
            for _, record in read(Path(path)):
                given, why = flat(record) if isinstance(record, Mapping) else ({}, "")
                kept = _record_of(given)
                if why and kept is not None and (kept.status != "label" or kept.value is None):
                    labels.append(kept)
            found = gold_rows(path)
            for (_, plain_row), row in zip(found.rows, read_labelled(self.task, found), strict=True):
                text, value = text_of(self.task, row.inputs, row.id), plain(row.truth)
                kept = _record_of(plain_row)
                if kept is not None and kept.key == text.key:
                    labels.append(replace(kept, status="label", value=value))
                    continue
                labels.append(
                    Label(
                        key=text.key, id=text.id, inputs=dict(text.inputs), status="label", value=value,
                        annotator=self.annotator, by="import",
                    )
                )  # fmt: skip
            for label in labels:
                if self.labels.get(label.key) != label:
                    self._file.keep(label)
            self._current = None
            return len(labels)

    def export(self, tool: Tool) -> list[dict[str, Any]]:
        """Give all texts for a label tool, with the model's answers as predictions and the labels as annotations.

        Raises:
            InputError: the tool has no question for such outputs.
        """
        exported(tool, self.task.output, ())  # before anything is asked
        with self._lock:
            labels = self.labels
            texts = {text.key: text for text in self.texts}
            texts |= {key: Text(key, label.id, label.inputs) for key, label in labels.items()}
            self.problem = ""
            self._ask(list(texts.values()))
            return exported(tool, self.task.output, [self._exported(text) for text in texts.values()])

    def _exported(self, text: Text) -> Exported:
        label, guess = self.labels.get(text.key), self._guesses.get(text.key)
        if label is None:
            return Exported(id=text.id, inputs=text.inputs, guess=guess)
        return Exported(
            id=text.id, inputs=text.inputs, guess=guess or label.guess, value=label.value, record=asdict(label),
            cancelled=label.status == "cannot_tell", annotator=label.annotator,
        )  # fmt: skip

    def _choose(self) -> Chosen | None:
        left = [text for text in self.texts if text.key not in self.labels]
        drawn, others = ([text for text in left if (text.part == "shot") == shot] for shot in (False, True))
        said = [Text(label.key, label.id, label.inputs) for label in self.labels.values() if label.status == "label"]
        shots = [text for text in said if text.part == "shot"]
        wanted = min(_MOST_SHOTS, max(8, 4 * len(self.task.output.labels or ())))
        turn = len(self.labels)
        if others and (not drawn or (turn % 3 == 2 and len(shots) < wanted)):
            if not self.problem:
                self._ask(others[:_CANDIDATES])
            return by_doubt(others[:_CANDIDATES], self._doubt, shots, turn)
        if drawn:
            return Chosen(drawn[0], "random", 1 / len(drawn))
        put_off = next((label for label in self.labels.values() if label.status == "skip"), None)
        return None if put_off is None else _again(put_off)

    def _doubt(self, text: Text) -> float:
        sure = (self._guesses.get(text.key) or {}).get("confidence")
        return 1.0 if sure is None else 1.0 - sure

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

    def _meant(self, key: str | None) -> Chosen:
        current = self.next()
        if current is None:
            raise InputError("there is no text left to label")
        if key is not None and key != current.text.key:
            raise InputError("another text is to be labelled now: load the page again")
        return current

    def _keep(self, status: Status, key: str | None, *, value: Any = None, note: str = "", seen: bool = False) -> Label:
        with self._lock:
            check_kind("note", note, str, what="a text")
            current = self._meant(key)
            text = current.text
            label = Label(
                key=text.key, id=text.id, inputs=dict(text.inputs), status=status, value=value, note=note,
                annotator=self.annotator, by=current.by, chance=current.chance, guess=self._guesses.get(text.key),
                seen=bool(seen),
            )  # fmt: skip
            self._file.keep(label)
            self._current = None
            return label


def _again(label: Label) -> Chosen:
    """Give the text of a label as it was chosen then."""
    return Chosen(Text(label.key, label.id, label.inputs), "doubt" if label.by == "doubt" else "random", label.chance)


def _record_of(row: Mapping[str, Any]) -> Label | None:
    """Read the record that was exported beside a row, where there is one."""
    try:
        return Label(**json.loads(row["fewshot"])) if "fewshot" in row else None
    except (ValueError, TypeError) as error:
        raise InputError(f"the record `fewshot` beside a row is not as it was exported: {error}") from error


def _guess(result: Result[Any]) -> dict[str, Any]:
    """Give an answer as it is kept, one that was held back included."""
    about = result.to_dict()
    chances = about["probabilities"]
    value = max(chances, key=chances.__getitem__) if chances and about["value"] is None else about["value"]
    return {"value": value, "confidence": result.confidence, "probabilities": chances, "model": result.model}
