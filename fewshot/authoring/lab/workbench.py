"""What the lab does, without HTTP: open a task, look at a draft of it, ask it, compare it with what is saved, save it.

A draft is written to a folder of its own, named by its content, and goes through the same loading, checking and asking
as any task. The task's own folder is written to by `save` alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot import _background_loop as loop
from fewshot._checks import placeholders
from fewshot._storage import write_atomic
from fewshot._task_files import is_there, read_file
from fewshot.authoring.check import TEST_FILE, check
from fewshot.authoring.scaffold import planned, write_folder
from fewshot.errors import FewshotError, InputError
from fewshot.evaluation.report import Report
from fewshot.folders.loader import EXAMPLE_FILES, NAME, examples_file, find, names, ships
from fewshot.models.connection import connect_unstarted
from fewshot.result import Result
from fewshot.task import Task, load

__all__ = ["Workbench", "model_of"]

_MOST_INPUTS = 20
_MOST_ROWS = 500
_CHANGED_SHOWN = 50

Files = Mapping[str, str]


class Workbench:
    """The tasks that can be worked on, and the drafts of them.

    Arguments:
        first: the task to open at first: a name, or a path to a folder.
        options: how tasks are asked; see `Settings`.
    """

    def __init__(self, first: str | None = None, **options: Any) -> None:
        self._options = options
        self._drafts = tempfile.TemporaryDirectory(prefix="fewshot-lab-")
        self._own = {} if first is None else {find(first).absolute().name: find(first).absolute()}
        self.first = next(iter(self._own), None)

    def close(self) -> None:
        """Delete the drafts."""
        self._drafts.cleanup()

    def tasks(self) -> dict[str, Any]:
        """Name the tasks, those of one's own first, and the one to open."""
        known = {*self._own, *names()}
        own = sorted(name for name in known if name in self._own or not ships(find(name)))
        every = [*own, *sorted(known - {*own})]
        return {"tasks": every, "own": own, "first": self.first or (every[0] if every else None)}

    def new(self, name: str, description: str = "", labels: str = "") -> dict[str, Any]:
        """Make a task in `templates/`, with labels separated by commas or else an answer in text, and open it.

        Raises:
            InputError: there is one of that name, or it would not be a task.
        """
        if name in self.tasks()["tasks"]:
            raise InputError(f"there is a task {name!r} already: choose another name", field="name")
        answers = [label.strip() for label in labels.split(",") if label.strip()]
        write_folder(planned(name, output=answers or "text", description=description))
        return self.open(name)

    def open(self, task: str) -> dict[str, Any]:
        """Give a task's files with a stamp of what they hold."""
        folder = self._folder(task)
        files = _files_of(folder)
        there = (folder / TEST_FILE).is_file()
        return {
            "task": task,
            "path": str(folder),
            "shipped": self._is_shipped(folder),
            "model": model_of(folder, **self._options),
            "files": files,
            "stamp": _stamp(files),
            "test": read_file(folder / TEST_FILE) if there else None,
        }

    def look(self, task: str, files: Files, inputs: str = "") -> dict[str, Any]:
        """Check a draft, and render its prompt for the first input, in both forms."""
        draft = self._draft(task, files)
        found = check(draft)
        findings = [finding.to_dict() | {"path": Path(finding.path).name} for finding in found.findings]
        seen: dict[str, Any] = {"findings": findings, "checkup": found.to_dict() | {"findings": None}, "prompt": None}
        try:
            made = load(draft)
            seen |= {"inputs": list(made.inputs), "parameters": dict(made.parameters)}
            rows = _rows(made, inputs)
            seen["prompt"] = _prompt(made, rows[0] if rows else placeholders(made.inputs))
        except FewshotError as error:
            seen["error"] = _in_words(error, draft)
        return seen

    def run(self, task: str, files: Files, inputs: str) -> dict[str, Any]:
        """Ask a draft about a handful of inputs, one a line."""
        made = load(self._draft(task, files), **self._options)
        rows = _rows(made, inputs)
        if not rows:
            raise InputError("there is nothing to ask: write an input, one a line")
        if len(rows) > _MOST_INPUTS:
            raise InputError(f"{len(rows)} inputs are more than the {_MOST_INPUTS} of a trial; use `fewshot run`")
        return {"results": [_shown(made.run(row), row) for row in rows]}

    def compare(self, task: str, files: Files, rows: str, name: str = TEST_FILE, limit: int = 50) -> dict[str, Any]:
        """Evaluate what is saved and the draft on the same labelled rows."""
        if not 0 < limit <= _MOST_ROWS:
            raise InputError(
                f"limit={limit} must be from 1 to {_MOST_ROWS}; use `fewshot eval` for more", field="limit"
            )
        draft = self._draft(task, files)
        data = draft.parent / f"rows{Path(name).suffix.lower()}"
        data.write_text(rows, encoding="utf-8")
        before, after = (
            load(folder, **self._options).evaluate(str(data), limit=limit, calibrate=False)
            for folder in (self._folder(task), draft)
        )
        return {
            "metric": after.primary,
            "rows": after.rows,
            "saved": before.metrics[before.primary].to_dict(),
            "draft": after.metrics[after.primary].to_dict(),
            "difference": after.compare(before)[after.primary].to_dict(),
            "tasks": [before.task, after.task],
            "notes": list(dict.fromkeys([*before.notes, *after.notes])),
            **_changed(before, after),
        }

    def save(self, task: str, files: Files, stamp: str, copy: str | None = None) -> dict[str, Any]:
        """Write a draft to the task's folder, each file whole or not at all.

        Arguments:
            copy: for a task of the package itself or of another one: the name of the copy in `templates/` that is
                made and written to; the task itself is never changed.

        Raises:
            InputError: the files were changed by somebody else since they were opened, or are not those of a task;
                or a copy is needed and has no name, or one that is taken.
        """
        folder = self._folder(task)
        if _stamp(_files_of(folder)) != stamp:
            raise InputError("the files have changed on disk since they were opened here; open the task again first")
        _refuse_other_files(files, folder)
        if self._is_shipped(folder):
            if copy is None or not NAME.match(copy):
                told = "give a name for your copy, of lower-case letters, digits, _ and -"
                raise InputError(f"{task} ships with a package and is not changed: {told}", field="copy")
            target = (Path("templates") / copy).absolute()
            if target.exists():
                raise InputError(f"templates/{copy} is there already: choose another name", field="copy")
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(folder, target)
            folder, task = target, copy
        for name, text in files.items():
            if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text:
                with write_atomic(folder / name) as scratch:
                    scratch.write_text(text, encoding="utf-8", newline="")
        return self.open(task)

    def _folder(self, task: str) -> Path:
        """Find the folder of a task by its name; a path from the page is not a name, and so finds nothing."""
        if task in self._own:
            return self._own[task]
        if task not in names():
            raise InputError(f"no task {task!r}; choose one of {', '.join(names())}")
        return find(task).absolute()

    def _is_shipped(self, folder: Path) -> bool:
        return folder not in self._own.values() and ships(folder)

    def _draft(self, task: str, files: Files) -> Path:
        folder = self._folder(task)
        _refuse_other_files(files, folder)
        draft = Path(self._drafts.name) / _stamp(files) / folder.name
        if not draft.is_dir():
            half = Path(tempfile.mkdtemp(dir=self._drafts.name)) / folder.name
            shutil.copytree(folder, half)
            for name, text in files.items():
                (half / name).write_text(text, encoding="utf-8", newline="")
            draft.parent.mkdir(exist_ok=True)
            if not draft.is_dir():
                half.rename(draft)
        return draft


def model_of(task: str | Path | Task[Any], **options: Any) -> str:
    """Name who would answer, for a person; nothing is started for that."""
    try:
        task = task if isinstance(task, Task) else load(task, **options)
        connection = loop.run(connect_unstarted(task.settings))
    except FewshotError as error:
        return f"nobody yet: {' '.join(str(error).split())}"
    if connection is None:
        return "a model file of your own"
    return connection.endpoint.host if connection.local else connection.model


def _files_of(folder: Path) -> dict[str, str]:
    paths = [folder / "task.toml", folder / "prompt.jinja", examples_file(folder) or folder / EXAMPLE_FILES[0]]
    return {path.name: read_file(path) if is_there(path) else "" for path in paths}


def _refuse_other_files(files: Files, folder: Path) -> None:
    for name, text in files.items():
        if name not in ("task.toml", "prompt.jinja", *EXAMPLE_FILES) or not isinstance(text, str):
            raise InputError(f"{name!r} is not a file of a task that can be edited here")
        if (folder / name).is_symlink():
            raise InputError(f"{name!r} is a link to somewhere else, which is not written to; edit it there")


def _stamp(files: Files) -> str:
    content = json.dumps(dict(files), sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _rows(task: Task[Any], text: str) -> list[Mapping[str, Any]]:
    """Read inputs as they are typed: each line a text, or a JSON object of inputs."""
    rows: list[Mapping[str, Any]] = []
    for line in filter(str.strip, text.split("\n")):
        try:
            row = json.loads(line) if line.lstrip().startswith("{") else None
        except ValueError:
            row = None
        rows.append(row if isinstance(row, dict) else {next(iter(task.inputs)): line.strip()})
    return rows


def _prompt(task: Task[Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Render both forms, each in its constant part and the rest."""
    bound, inputs = task._bind({**placeholders(task.inputs), **row})
    prompt = bound._prompts.offline(inputs)
    question = prompt.turn(inputs)
    return {
        "chat": [{"role": turn.role, "content": turn.content} for turn in prompt.prefix.messages],
        "question": {"role": question.role, "content": question.content},
        "text": prompt.text_prefix,
        "rest": prompt.text(inputs)[len(prompt.text_prefix) :],
        "shots": len(prompt.examples),
    }


def _shown(result: Result[Any], row: Mapping[str, Any]) -> dict[str, Any]:
    about = result.to_dict()
    kept = ("value", "probabilities", "confidence", "abstained", "method", "calibration", "warnings", "model", "usage")
    error = None if result.error is None else str(result.error)
    return {name: about[name] for name in kept} | {"inputs": dict(row), "error": error}


def _changed(before: Report, after: Report) -> dict[str, Any]:
    """Give the rows whose answer is not the same, those that got better or worse marked."""
    rows: Sequence[dict[str, Any]] = [
        {
            "inputs": " | ".join(str(value) for value in new.inputs.values() if value is not None),
            "truth": new.truth,
            "saved": old.error or old.value,
            "draft": new.error or new.value,
            "better": new.right - old.right,
        }
        for old, new in zip(before.predictions, after.predictions, strict=True)
        if (old.value, old.error) != (new.value, new.error)
    ]
    return {"changed": len(rows), "changes": rows[:_CHANGED_SHOWN]}


def _in_words(error: FewshotError, draft: Path) -> str:
    return " ".join(str(error).replace(f"{draft}{os.sep}", "").split())
