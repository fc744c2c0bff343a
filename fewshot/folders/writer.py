"""Writing a chosen prompt into a task's folder, without losing anything of the author's.

`task.toml` is edited in place, so that comments and order stay; examples keep their lines, new ones come before or
after them. Everything is first written to a folder aside and loaded from there: only what comes back as the very prompt
that was measured takes the place of the author's files, of which copies are kept beside them.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from fewshot._checks import REQUIRED
from fewshot._storage import write_atomic
from fewshot.calibration.promise import FIT_FILE
from fewshot.errors import InputError, TaskError
from fewshot.folders.loader import examples_file, read_folder, ships
from fewshot.inference.predictor import Predictor
from fewshot.result import plain
from fewshot.types import Example

__all__ = [
    "Rewritten",
    "check_writable",
    "chosen_settings",
    "kept_copy",
    "rewrite",
    "save",
    "with_settings",
    "write_fit",
]

_NARROWING = ("candidates", "candidate_rows", "out_of_scope")
_CHOSEN = ("k", "select", "form", "seed", "embedding_model", "calibrate")
"""Settings that a search may change."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The files that were written, and the copies of what they held before."""

    files: tuple[Path, ...]
    copies: tuple[Path, ...]
    task: Predictor[Any]
    """The task as it is loaded now."""


def chosen_settings(start: Predictor[Any], chosen: Predictor[Any]) -> dict[str, Any]:
    """Give the settings of the prompt in which two tasks differ, with the second's values."""
    pairs = {name: (getattr(start.settings, name), getattr(chosen.settings, name)) for name in _CHOSEN}
    return {name: new for name, (old, new) in pairs.items() if old != new}


def check_writable(start: Predictor[Any]) -> Predictor[Any]:
    """Give the task as its folder holds it, or raise InputError where a chosen prompt could not be written there."""
    if start.path is None:
        raise InputError("this task was made in code: take the chosen settings and examples over by hand")
    if ships(start.path):
        message = (
            f"{start.name} ships with the package: copy its folder to templates/{start.name}, which is found first"
        )
        raise InputError(message)
    if not os.access(start.path, os.W_OK):
        raise InputError(f"{start.path} cannot be written: change its permissions, or tune a copy of the folder")
    on_disk = read_folder(start.path, type(start))
    alike = (start.template.source, repr(start.output), _content(start)) == (
        on_disk.template.source, repr(on_disk.output), _content(on_disk),
    )  # fmt: skip
    if not alike:
        message = f"{start.path} holds another template, output or examples than the search began with"
        raise InputError(f"{message}: put those into the folder first, then search again")
    return on_disk


def rewrite(start: Predictor[Any], chosen: Predictor[Any], *, by: str = "tuned") -> Rewritten:
    """Write a chosen prompt into the folder of the task that it came of; see `Tuned.write`.

    Arguments:
        by: who chose it, as the ids of new examples tell.
    """
    on_disk = check_writable(start)
    assert on_disk.path is not None  # noqa: S101 - it has been loaded from there
    folder = on_disk.path
    new = dict(_new_files(folder, on_disk, chosen, by))
    if not new:
        raise InputError(f"there is nothing to write: {folder} holds this prompt already")
    with tempfile.TemporaryDirectory(prefix="fewshot-") as aside:
        copy = Path(aside) / folder.name
        shutil.copytree(folder, copy, symlinks=True)
        for name, text in new.items():
            (copy / name).write_text(text, encoding="utf-8", newline="")
        written = read_folder(copy, type(chosen)).using(**chosen.parameters)
        if written._fingerprint != chosen._fingerprint:
            settings = ", ".join(f"{n} = {json.dumps(v)}" for n, v in chosen_settings(on_disk, chosen).items())
            message = f"{folder} is not changed, since it would not come back the same"
            raise InputError(f"{message}; set yourself: {settings}")
    copies = tuple(kept_copy(folder / name) for name in new if (folder / name).is_file())
    for name, text in new.items():
        with write_atomic(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8", newline="")
    return Rewritten(tuple(folder / name for name in new), copies, read_folder(folder, type(chosen)))


def write_fit(task: Predictor[Any]) -> Path:
    """Write what `calibrate` fitted beside the task's files, as `fit.json`; gives its path.

    Raises:
        InputError: nothing was fitted, or the folder is not what it was fitted for.
    """
    check_writable(task)
    assert task.path is not None  # noqa: S101 - it has been loaded from there
    with write_atomic(task.path / FIT_FILE) as scratch:
        scratch.write_text(_fit_of(task), encoding="utf-8", newline="")
    return task.path / FIT_FILE


def save(task: Predictor[Any], folder: str | os.PathLike[str]) -> Path:
    """Write a task as a folder, with its fit where it has one; gives the folder.

    Raises:
        InputError: there is such a folder, or the task cannot be written so that it comes back the same.
    """
    target = Path(folder)
    if task.fallback is not None:
        raise InputError(f"{task.name} is followed by {task.fallback.task.name}, which a folder cannot hold: save each")
    if target.exists():
        raise InputError(f"{target} is there already: give the name of a folder that is not")
    with tempfile.TemporaryDirectory(prefix="fewshot-") as aside:
        copy = Path(aside) / target.name
        try:
            if task.path is not None:
                shutil.copytree(task.path, copy)
            if task.path is None or read_folder(copy, Predictor)._fingerprint != task._fingerprint:
                shutil.rmtree(copy, ignore_errors=True)
                _write_parts(task, copy)
            if task.promise is not None:
                (copy / FIT_FILE).write_text(_fit_of(task), encoding="utf-8")
            same = read_folder(copy, Predictor)._fingerprint == task._fingerprint
        except (TaskError, TypeError) as error:  # a parameter that TOML has no word for is a TypeError
            raise InputError(f"{task.name} cannot be written as a folder: {error}") from error
        if not same:
            message = "its output, parameters or settings would not come back the same"
            raise InputError(f"{task.name} cannot be written as a folder: {message}; make the folder by hand")
        shutil.copytree(copy, target)
    return target


def _write_parts(task: Predictor[Any], folder: Path) -> None:
    if any(default is not REQUIRED for default in task.inputs.values()):
        raise InputError(f"{task.name} has optional inputs, which are not written: make the folder by hand")
    folder.mkdir()
    (folder / "task.toml").write_text(_spec_of(task), encoding="utf-8")
    (folder / "prompt.jinja").write_text(task.template.source, encoding="utf-8", newline="")
    if task.examples:
        lines = "".join(f"{_line(example, example.id)}\n" for example in task.examples)
        (folder / "examples.jsonl").write_text(lines, encoding="utf-8", newline="")


def _fit_of(task: Predictor[Any]) -> str:
    if task.promise is None:
        raise InputError("nothing was fitted that could be written: calibrate first")
    return task.promise.to_json()


def _spec_of(task: Predictor[Any]) -> str:
    output: Any = list(task.output.labels) if task.output.labels is not None else task.output.kind
    output = {"any_of": output} if task.output.several else output
    output = {group: list(of) for group, of in getattr(task.output, "groups", {}).items()} or output
    output = {"spans": list(task.output.span_labels)} if task.output.span_labels else output
    if isinstance(output, dict):
        table = tomlkit.inline_table()
        table.update(output)
        output = table
    defaults = type(task.settings)()
    names = dict.fromkeys(
        ("model", *_CHOSEN, "temperature", "max_tokens", "scoring", "votes", "min_confidence", *_NARROWING)
    )
    settings = {name: getattr(task.settings, name) for name in names}
    tables = {
        "inputs": {name: task.about.get(name) or f"the {name}" for name in task.inputs},
        "parameters": dict(task.parameters),
        "descriptions": dict(getattr(task.output, "descriptions", {})),
        "settings": {n: v for n, v in settings.items() if v != getattr(defaults, n) and v != math.inf},
    }
    said = {"description": task.description or task.name, "version": task.version, "output": output}
    return tomlkit.dumps(said | {name: table for name, table in tables.items() if table})


def with_settings(source: str, changes: Mapping[str, Any]) -> str:
    """Give the text of a `task.toml` with some settings changed in place; None takes one out.

    Raises:
        InputError: the settings stand there in a way that cannot be edited.
    """
    try:
        document = tomlkit.parse(source.replace("\r\n", "\n"))
        settings: Any = document.setdefault("settings", tomlkit.table())
        for name, value in changes.items():
            if value is None:
                settings.pop(name, None)
            else:
                settings[name] = value
        text = tomlkit.dumps(document)
    except TOMLKitError as error:
        said = ", ".join(f"{n} = {json.dumps(v)}" for n, v in changes.items() if v is not None)
        raise InputError(f"task.toml cannot be edited ({error}); set yourself: {said}") from error
    return text.replace("\n", "\r\n") if "\r\n" in source else text


def _new_files(folder: Path, on_disk: Predictor[Any], chosen: Predictor[Any], by: str) -> Iterator[tuple[str, str]]:
    if _content(chosen) != _content(on_disk):
        yield "examples.jsonl", _examples(folder, on_disk, chosen, by)
    if chosen.template.source != on_disk.template.source:
        yield "prompt.jinja", chosen.template.source
    if changes := chosen_settings(on_disk, chosen):
        yield "task.toml", with_settings(_text(folder / "task.toml"), changes)


def _examples(folder: Path, on_disk: Predictor[Any], chosen: Predictor[Any], by: str) -> str:
    """Put the examples in their new order; those that were there keep their lines as they are."""
    there = examples_file(folder)
    lines = _text(there).split("\n") if there is not None and there.suffix == ".jsonl" else []
    own = {_key(e, on_disk): lines[e.line - 1].strip() if lines else _line(e, e.id) for e in on_disk.examples}
    return "".join(f"{own.get(_key(e, on_disk)) or _line(e, f'{by}:{e.id}')}\n" for e in chosen.examples)


def _line(example: Example, name: str) -> str:
    output = plain(example.output)
    return json.dumps({**example.inputs, "output": output, "id": name}, ensure_ascii=False)


def _content(task: Predictor[Any]) -> list[str]:
    return [_key(example, task) for example in task.examples]


def _key(example: Example, task: Predictor[Any]) -> str:
    return json.dumps([dict(example.inputs), task.output.render(example.output)], sort_keys=True, default=str)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")


def kept_copy(path: Path) -> Path:
    """Copy a file beside itself, under a name that is not taken."""
    names = (path.with_name(f"{path.name}.bak{n or ''}") for n in range(10_000))
    copy = next(name for name in names if not name.exists())
    shutil.copy2(path, copy)
    return copy
