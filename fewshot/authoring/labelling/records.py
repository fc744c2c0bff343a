"""Texts to label and what was said of them, in a file that only grows: on the disk before the next text is shown."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from fewshot._checks import check_kind
from fewshot.errors import ConfigError, InputError
from fewshot.evaluation.intervals import average, kappa

if sys.platform != "win32":
    import fcntl

__all__ = ["Label", "LabelFile", "Part", "Status", "Text", "agreement", "read_labels"]

Part = Literal["shot", "calibration", "test"]
Status = Literal["label", "skip", "cannot_tell"]


@dataclass(frozen=True, kw_only=True)
class Text:
    """One text (or record of inputs) that can be labelled."""

    key: str
    """Hash of what it asks, by which its label is found again: 16 hex digits."""
    id: str
    inputs: Mapping[str, Any]
    by: str = "random"
    """How it was chosen: `random`, or `import` for a label from elsewhere."""
    chance: float | None = None
    """The probability of that choice among the texts that were left; None before it, and for a label from elsewhere."""

    @property
    def part(self) -> Part:
        """What it becomes when it is labelled; its key decides, and nothing else."""
        parts: tuple[Part, ...] = ("shot", "calibration", "calibration", "test")
        return parts[int(self.key, 16) % 4]


@dataclass(frozen=True, kw_only=True)
class Label(Text):
    """What a person said of a text."""

    status: Status
    value: Any = None
    """The label or other answer, as JSON has it; None for the other statuses, and where no answer is right."""
    note: str = ""
    annotator: str = ""
    guess: Mapping[str, Any] | None = None
    """The model's own answer with `value`, `confidence`, `probabilities` and `model`, where it was asked."""
    seen: bool = False
    """Whether the guess was shown before the label was given."""
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Label:
        """Read what `asdict` gave; raises TypeError or ValueError for anything else."""
        label = cls(**record)
        if label.status not in ("label", "skip", "cannot_tell") or not isinstance(label.inputs, dict):
            raise ValueError("an unknown status")
        int(label.key, 16)
        return label


def read_labels(path: str | os.PathLike[str]) -> dict[str, Label]:
    """Read the labels that stand, by key and in their order; none where there is no file.

    A last line without an end was cut off while it was written, before anybody was told that it is kept.

    Raises:
        InputError: the file cannot be read, or another line is not a label; with file and line.
    """
    check_kind("path", path, str, os.PathLike, what="the path of a file of labels")
    found: dict[str, Label] = {}
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise OSError(None, "it is not a regular file")
        *lines, cut = path.read_bytes().split(b"\n") if path.exists() else [b""]
        if not any(start.startswith(cut[: len(start)]) for start in _STARTS):  # else it is cut off later on
            lines.append(cut)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {reason}; give a file of labels") from error
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            if "undo" in event:
                del found[event["undo"]]
            else:
                found.pop(event["key"], None)
                found[event["key"]] = Label.from_dict(event)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            message = f"{path}:{number}: is not a label ({error}); give a file that `fewshot label` has written"
            raise InputError(message, row=number) from error
    return found


_STARTS = (b'{"key": ', b'{"undo": ')
"""How a line of labels begins."""


class LabelFile:
    """The labels of one person, and the private file that keeps them; raises as `read_labels`, and ConfigError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.labels = read_labels(path)
        self.path = Path(path)
        try:
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb+") as file:
                self._size = file.read().rfind(b"\n") + 1
                file.truncate(self._size)  # what follows was cut off
                os.fsync(file.fileno())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"{path} cannot be written: {reason}; name another with --out") from error

    def keep(self, label: Label) -> None:
        """Keep a label; it takes the place of an earlier one of the same text."""
        self._write(asdict(label))
        self.labels.pop(label.key, None)
        self.labels[label.key] = label

    def undo(self) -> Label:
        """Take the last label back."""
        if not self.labels:
            raise InputError("there is nothing to take back")
        last = next(reversed(self.labels))
        self._write({"undo": last})
        return self.labels.pop(last)

    def _write(self, event: Mapping[str, Any]) -> None:
        """Have a line on the disk, all of it or nothing."""
        line = json.dumps(event, ensure_ascii=False, default=str).encode() + b"\n"
        try:
            with self.path.open("rb+", buffering=0) as file:
                if sys.platform != "win32":
                    fcntl.flock(file, fcntl.LOCK_EX)  # nobody writes between the look and the line
                if file.seek(0, os.SEEK_END) != self._size:
                    message = f"{self.path} was written to by somebody else: give each a name with --annotator"
                    raise InputError(f"{message}, and begin again")
                try:
                    if file.write(line) != len(line):
                        raise OSError(None, "there is no room for all of it")
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(self._size)
                    raise
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written, so nothing was labelled: {error.strerror}") from error
        self._size += len(line)


def agreement(*files: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Compare the labels of several people, each pair of them on the texts that both have labelled.

    Returns:
        For each pair `who`, `rows`, `agreement` and `kappa` (each with its 95% interval; None where there is none),
        `cannot_tell` (texts that only one of them could label) and the rows they `differ` on.

    Raises:
        InputError: there are fewer than two files, or one is not there or not one of labels.
    """
    if len(files) < 2:
        raise InputError("labels of at least two people are compared: give their files")
    read = [read_labels(path) for path in files]
    people = [(str(path), labels) for path, labels in zip(files, read, strict=True)]
    for path, labels in people:
        if not labels:
            raise InputError(f"{path}: there is no such file, or no label in it: give another")
    return [_compared(*one, *other) for one, other in combinations(people, 2)]


def _compared(name: str, ours: Mapping[str, Label], other: str, theirs: Mapping[str, Label]) -> dict[str, Any]:
    both = [(one, theirs[key]) for key, one in ours.items() if key in theirs]
    both = [(one, two) for one, two in both if "skip" not in (one.status, two.status)]
    told = [(one, two) for one, two in both if one.status == two.status == "label"]
    pairs = [(_written(one.value), _written(two.value)) for one, two in told]
    beyond = kappa(pairs)
    named = ((name, ours), (other, theirs))
    return {
        "who": [next((la.annotator for la in labels.values() if la.annotator), file) for file, labels in named],
        "rows": len(pairs),
        "agreement": average([float(one == two) for one, two in pairs]).to_dict() if pairs else None,
        "kappa": beyond and beyond.to_dict(),
        "cannot_tell": sum(one.status != two.status for one, two in both),
        "differ": [
            {"id": one.id, "inputs": dict(one.inputs), "values": [one.value, two.value], "notes": [one.note, two.note]}
            for one, two in told
            if _written(one.value) != _written(two.value)
        ],
    }


def _written(value: Any) -> str:
    """Give a value so that equal ones are equal: the labels of a set have no order."""
    return json.dumps(sorted(value, key=str) if isinstance(value, list) else value, sort_keys=True)
