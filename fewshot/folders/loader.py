"""Finding task folders and reading them: `task.toml`, `prompt.jinja`, `examples.jsonl`.

A folder is data only; nothing in it is run. Look-up by name: the `templates/` folder where the program runs, the
folders of `FEWSHOT_TEMPLATES` (separated as in PATH), installed packages that offer tasks (entry points in the group
`fewshot.tasks`, each naming a package whose folder holds task folders), then the tasks that ship with this package.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from fewshot._checks import check_kind, did_you_mean
from fewshot._task_files import check_file, is_there, read_file
from fewshot.calibration.promise import FIT_FILE, Promise
from fewshot.data.examples import read_examples
from fewshot.errors import ConfigError, InputError, TaskError
from fewshot.folders.findings import raise_first
from fewshot.folders.spec import Spec, read_spec
from fewshot.inference.joining import made_together
from fewshot.inference.predictor import Predictor
from fewshot.prompts.template import Template

__all__ = [
    "EXAMPLE_FILES",
    "NAME",
    "examples_file",
    "find",
    "hides",
    "names",
    "read_folder",
    "search_path",
    "shipped",
    "ships",
]

P = TypeVar("P", bound=Predictor[Any])
EXAMPLE_FILES = tuple(f"examples.{kind}" for kind in ("jsonl", "json", "csv", "tsv", "yaml", "yml"))
NAME = re.compile(r"(?=.{1,64}\Z)[a-z0-9]+(?:[_-][a-z0-9]+)*\Z")


def read_folder(name: str | os.PathLike[str], kind: type[P]) -> P:
    """Read a task by name or from a folder, as the kind of predictor that is asked for.

    Raises:
        TaskError: there is no such task, or its folder is broken (with file and line).
    """
    folder = find(name).absolute()
    files = [folder / name for name in ("task.toml", "prompt.jinja", FIT_FILE, *EXAMPLE_FILES)]
    key: Any = kind
    made: P = _read_once(folder, tuple(_stamp(f) for f in files), key)
    return made


def find(name: str | os.PathLike[str]) -> Path:
    """Find a task's folder; raises TaskError with the places that were searched."""
    check_kind("name", name, str, os.PathLike, what="a task's name, or a path to its folder")
    text = os.fspath(name)
    if os.sep in text or (os.altsep and os.altsep in text) or isinstance(name, os.PathLike) or text.startswith("."):
        folder = Path(text)
        if folder.is_file():
            raise TaskError("is a file: give the path of its folder", path=folder)
        if not is_there(folder / "task.toml"):
            raise TaskError("is not a task folder: it has no task.toml; make one with `fewshot new NAME`", path=folder)
        return folder
    if not NAME.match(text):
        raise TaskError(f"{text!r:.80} is not a task name: use lower-case letters, digits, _ and -, or give a path")
    for place in search_path():
        if (place / text / "task.toml").is_file():
            return place / text
    places = ", ".join(str(p) for p in search_path())
    raise TaskError(f"no task {text!r}{did_you_mean(text, names())}; see `fewshot tasks`. Searched: {places}")


def names() -> list[str]:
    """Give the names of all tasks that can be found, sorted."""
    found = {f.parent.name for place in search_path() if place.is_dir() for f in place.glob("*/task.toml")}
    return sorted(name for name in found if NAME.match(name))


def search_path() -> list[Path]:
    """Give the folders that are searched for tasks, first come first served."""
    own = [Path(p) for p in os.environ.get("FEWSHOT_TEMPLATES", "").split(os.pathsep) if p]
    return [Path("templates"), *own, *_installed(), _shipped()]


def ships(folder: Path) -> bool:
    """Tell whether a task folder belongs to this package or to another that is installed, and not to the user."""
    return any(folder.resolve().parent == place.resolve() for place in (*_installed(), _shipped()))


def shipped(name: str) -> Path:
    """Give where a task of that name is among those of this package; there may be none."""
    return _shipped() / name


def hides(name: str) -> Path | None:
    """Give the folder of the shipped task that a task of one's own of the same name stands before."""
    there = [place / name for place in (*_installed(), _shipped()) if (place / name / "task.toml").is_file()]
    return there[0] if there and not ships(find(name)) else None


@lru_cache(maxsize=1)
def _installed() -> tuple[Path, ...]:
    """Find the task folders of other packages without running any code of theirs."""
    found = []
    for entry in sorted(entry_points(group="fewshot.tasks"), key=lambda entry: entry.name):
        # find_spec runs the packages above the one that it is asked for, so ask for the outermost only.
        package, *inner = entry.value.split(".")
        spec = find_spec(package)
        places = (spec.submodule_search_locations if spec else None) or ()
        found += [Path(place, *inner) for place in places]
    return tuple(found)


@lru_cache(maxsize=1)
def _shipped() -> Path:
    """In a wheel the tasks lie inside the package; in a checkout and an editable install beside it."""
    inside = Path(__file__).parents[1] / "templates"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "templates"


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=256)
def _read_once(folder: Path, stamps: tuple[object, ...], kind: type[Any]) -> Any:  # noqa: ARG001 - a part of the cache's key
    """Read a folder; `stamps` (time and size of its files) make an edited folder be read again."""
    spec, wrong = read_spec(folder)
    raise_first(wrong)
    made = [_made(folder, part, kind) for part in (spec.outputs.values() or (spec,))]
    if not spec.outputs:
        return _with_fit(made[0], folder / FIT_FILE)
    shots = zip(*(member.examples for member in made), strict=True)
    joint = [replace(row[0], output={m.name: e.output for m, e in zip(made, row, strict=True)}) for row in shots]
    about: dict[str, Any] = {"about": spec.about, "version": made[0].version, "path": folder}
    about |= {"parameters": spec.parameters, "description": str(spec.said.get("description", ""))}
    try:
        return made_together(kind, made, name=folder.name, examples=tuple(joint), **about)
    except InputError as error:
        raise TaskError(str(error), path=spec.path) from error


def _made(folder: Path, spec: Spec, kind: type[Any]) -> Any:
    assert spec.output is not None  # noqa: S101 - nothing is wrong with it
    template = Template.read(folder / "prompt.jinja")
    template.check(spec.inputs, spec.parameters)
    found = examples_file(folder)
    return kind(
        name=spec.target or folder.name,
        template=template,
        output=spec.output,
        inputs=spec.inputs,
        parameters=spec.parameters,
        examples=read_examples(found, spec.inputs, spec.parameters, spec.output, spec.target) if found else (),
        settings=spec.settings,
        description=str(spec.said.get("description", "")),
        about=spec.about,
        version=str(spec.said.get("version", "1")),
        path=folder,
    )


def examples_file(folder: Path) -> Path | None:
    """Give the file of examples of a folder, the first of those that are read; raises TaskError for one that is not."""
    found = next((folder / name for name in EXAMPLE_FILES if is_there(folder / name)), None)
    if found:
        check_file(found)
    return found


def _with_fit(task: Predictor[Any], path: Path) -> Predictor[Any]:
    if not is_there(path):
        return task
    try:
        return task._with_fit(Promise.from_json(read_file(path)))
    except ConfigError as error:
        raise TaskError(f"cannot be read: {error}", path=path) from error
