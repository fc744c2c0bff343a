"""What can be wrong with a `task.toml`, key by key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewshot._checks import did_you_mean
from fewshot._task_files import read_toml
from fewshot.authoring.findings import Finding, error, of_error, warning
from fewshot.errors import InputError, TaskError
from fewshot.folders.loader import KEYS, default_of, line_of, read_output, read_settings
from fewshot.outputs.kinds import Output
from fewshot.prompts.template import PROVIDED
from fewshot.result import label_of
from fewshot.settings import Settings

__all__ = ["PLACEHOLDER", "Spec", "check_spec", "idle_settings"]

PLACEHOLDER = "(replace me)"
"""Ends the texts that `fewshot new` writes to be replaced, so that they are not forgotten."""
_TABLES = ("inputs", "parameters", "settings", "descriptions", "words")


@dataclass(frozen=True)
class Spec:
    """What a `task.toml` says, as far as it can be read."""

    path: Path
    inputs: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    output: Output[Any] | None = None
    """None where it is not valid."""
    settings: Settings = field(default_factory=Settings)
    given: frozenset[str] = frozenset()
    """Names of the settings that are there and valid."""
    described: bool = False
    """Whether labels have descriptions."""
    unread: bool = False
    """Whether the file is not TOML at all."""

    def line(self, key: str, *, after: str | None = None) -> int | None:
        """Give the line of a key, the first or the first in a table."""
        return line_of(self.path, key, after=after)


def check_spec(folder: Path) -> tuple[Spec, list[Finding]]:
    """Read the `task.toml` of a folder; give what it says, and all that is wrong with it."""
    path = folder / "task.toml"
    try:
        said = read_toml(path)
    except TaskError as problem:
        return Spec(path, unread=True), [of_error("toml", path, problem)]
    tables = {name: said.get(name, {}) for name in _TABLES}
    wrong = [name for name, table in tables.items() if not isinstance(table, dict)]
    tables |= {name: {} for name in wrong}
    declared = tables["inputs"] or {"text": "the text"}
    output, about_output = _output(said, folder, path)
    settings, about_settings = _settings(tables["settings"], path)
    spec = Spec(
        path=path,
        inputs={name: default_of(value) for name, value in declared.items() if _is_usable(name)},
        parameters=tables["parameters"],
        output=output,
        settings=Settings().updated(settings),
        given=frozenset(settings),
        described=bool(tables["descriptions"]),
    )
    findings = [error("table", path, spec.line(name), f"{name!r} must be a table", f"write [{name}]") for name in wrong]
    findings += [*_keys(said, path), *_names(declared, spec), *about_output, *about_settings]
    return spec, findings


def idle_settings(spec: Spec, shots: int) -> Iterator[Finding]:
    """Give the settings that do nothing; `shots` is how many examples can be shown at once."""
    settings, given = spec.settings, spec.given
    closed = spec.output is not None and spec.output.labels is not None
    probable = closed or getattr(spec.output, "optional", None) is not None
    idle = {
        "seed": (settings.select != "random" and settings.votes == 1 and settings.temperature == 0)
        and "nothing is drawn: select is not 'random', there is one vote and the temperature is 0",
        "embedding_model": settings.select != "embedding" and "select is not 'embedding'",
        "select": not shots and "there are no examples",
        "scoring": not probable and "only labels, and texts that may be missing, have probabilities",
        "decisions": not closed and "only labels have probabilities",
        "calibrate": not (closed and settings.scoring) and "only scored labels have probabilities to calibrate",
        "votes": closed
        and settings.scoring
        and settings.votes > 1
        and "labels are scored, not voted on, where the endpoint gives log-probabilities",
        "k": settings.k is not None and settings.k > shots and f"no question has more than {shots} examples to show",
    }
    for name, why in idle.items():
        if why and name in given:
            fix = "lower it or add examples" if name == "k" else _fixes.get(name, "remove it")
            yield warning("idle-setting", spec.path, spec.line(name), f"{name} does nothing: {why}", fix)
    if settings.min_confidence is not None and not probable:
        message = (
            "min_confidence holds all back where no log-probabilities come, else compares how likely the words are"
        )
        fix = "remove it, or give labels, whose probability is that of being right"
        yield warning("idle-setting", spec.path, spec.line("min_confidence"), message, fix)


_fixes = {"votes": "set scoring = false, or remove it"}


def _keys(said: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    """Find keys that mean nothing, alone or beside this output."""
    for key in said:
        if key not in KEYS:
            message = f"unknown key {key!r}{did_you_mean(key, KEYS)}"
            yield error("unknown-key", path, line_of(path, key), message, f"the keys are {', '.join(KEYS)}")
    if not said.get("description"):
        yield warning("no-description", path, 1, "has no description", 'add description = "What it does."')
    elif PLACEHOLDER in str(said["description"]):
        line = line_of(path, "description")
        yield warning(
            "placeholder", path, line, "is still as `fewshot new` wrote it", "say here and in prompt.jinja what it does"
        )
    wanted = said.get("output")
    for key in ("words", "descriptions"):
        if said.get(key) and not isinstance(wanted, list):
            yield warning(
                "idle-key", path, line_of(path, key), f"[{key}] does nothing: there are no labels", "remove it"
            )
    if "optional" in said and wanted != "text":
        message = "`optional` does nothing: only a text output can be missing"
        yield warning("idle-key", path, line_of(path, "optional"), message, "remove it")


def _names(declared: Iterable[str], spec: Spec) -> Iterator[Finding]:
    """Find inputs that a template could not use under their names."""
    for name in declared:
        line = spec.line(name, after="inputs")
        if not _is_usable(name):
            fix = "use letters, digits and _, and neither output, labels, descriptions nor id"
            yield error("name", spec.path, line, f"{name!r} cannot be the name of an input", fix)
        if name in spec.parameters:
            yield error("name", spec.path, line, f"{name!r} is an input and a parameter", "keep one of them")


def _is_usable(name: str) -> bool:
    return name.isidentifier() and name not in (*PROVIDED, "id")


def _output(said: Mapping[str, Any], folder: Path, path: Path) -> tuple[Output[Any] | None, list[Finding]]:
    """Read the output, and find all that is wrong with its labels."""
    wanted = said.get("output")
    found = list(_labels(said, wanted, path)) if isinstance(wanted, list) else []
    if found:
        return None, found
    try:
        return read_output(said, folder, path), []
    except TaskError as problem:
        return None, [of_error("output", path, problem)]


def _labels(said: Mapping[str, Any], labels: list[Any], path: Path) -> Iterator[Finding]:
    line = line_of(path, "output")
    names = [label_of(label) for label in labels]
    for label, count in Counter(names).items():
        if count > 1:
            yield error("duplicate-label", path, line, f"the label {label!r} stands {count} times", "keep one")
    for label in labels:
        if not isinstance(label, str | int) or not label_of(label).strip():
            what = "a text that is not blank" if isinstance(label, str) else "a text, a whole number or a boolean"
            message = f"a label must be {what}, not {label!r}"
            yield error("label", path, line, message, "quote it")
    if len(labels) < 2:
        yield error("label", path, line, "one label leaves nothing to choose", "give at least two")
    for key in ("words", "descriptions"):
        table = said.get(key, {})
        for label in table if isinstance(table, dict) else ():
            if label not in names:
                message = f"[{key}] names {label!r}, which is none of the labels{did_you_mean(label, names)}"
                fix = f"the labels are {', '.join(names)}"
                yield error("unknown-label", path, line_of(path, label), message, fix)


def _settings(table: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[Finding]]:
    """Read the settings one by one; give the valid ones, and what is wrong with the others."""
    valid, found = {}, []
    for name, value in table.items():
        try:
            read_settings({name: value}, path)
        except TaskError as problem:
            found.append(of_error("setting", path, problem))
        else:
            valid[name] = value
    try:
        Settings().updated(valid)
    except InputError as problem:  # they do not go together
        return {}, [*found, error("setting", path, line_of(path, problem.field or "settings"), str(problem))]
    return valid, found
