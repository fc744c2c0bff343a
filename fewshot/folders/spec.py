"""What a `task.toml` says, key by key, and all that is wrong with it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fewshot._checks import REQUIRED, brief, did_you_mean
from fewshot._options import table
from fewshot._task_files import read_file, read_toml
from fewshot.errors import InputError, TaskError
from fewshot.folders.findings import Finding, error, of_error
from fewshot.outputs.kinds import Labels, LabelSet, Output, Text, is_tree, labels_of, output_of
from fewshot.prompts.template import PROVIDED
from fewshot.result import label_of
from fewshot.settings import Settings

__all__ = ["GIVEN", "KEYS", "Spec", "line_of", "read_spec"]

GIVEN = frozenset({"output_name", "output_description"})
"""What a template of several outputs can print of the one that is asked for."""
_OF_OUTPUT = ("description", "output", "descriptions", "words", "optional")
"""The keys that each of several outputs may have of its own."""
KEYS = ("description", "version", "output", "outputs", "inputs", "parameters", "settings", *_OF_OUTPUT[2:])
_OF_SCHEMA = {"type", "properties", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "any_of", "spans"}
_TABLES = ("outputs", "inputs", "parameters", "settings", "descriptions", "words")


@dataclass(frozen=True)
class Spec:
    """What a `task.toml` says, as far as it can be read."""

    path: Path
    said: Mapping[str, Any] = field(default_factory=dict)
    """All keys, as TOML has them."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    """What each input means."""
    output: Output[Any] | None = None
    """None where it is not valid."""
    outputs: Mapping[str, Spec] = field(default_factory=dict)
    """Of several outputs each, as if it were the only one, with what is `GIVEN` among the parameters."""
    target: str = ""
    """The column of the answer in the examples; empty for the usual ones."""
    settings: Settings = field(default_factory=Settings)
    given: frozenset[str] = frozenset()
    """Names of the settings that are there and valid."""
    unread: bool = False
    """Whether the file is not TOML at all."""

    def line(self, key: str, *, after: str | None = None) -> int | None:
        """Give the line of a key, the first or the first in a table."""
        return line_of(self.path, key, after=after)


def read_spec(folder: Path) -> tuple[Spec, list[Finding]]:
    """Read the `task.toml` of a folder; give what it says, and all that is wrong with it."""
    path = folder / "task.toml"
    try:
        said = read_toml(path)
    except TaskError as problem:
        return Spec(path, unread=True), [of_error("toml", path, problem)]
    wrong = [name for name in _TABLES if not isinstance(said.get(name, {}), dict)]
    said |= {name: {} for name in wrong}
    declared = said.get("inputs") or {"text": "the text"}
    output, about_output = (None, []) if said.get("outputs") else _output(said, folder, path)
    settings, about_settings = _settings(said.get("settings", {}), path)
    spec = Spec(
        path=path,
        said=said,
        inputs={name: _default(value) for name, value in declared.items() if _is_usable(name)},
        parameters=said.get("parameters", {}),
        about={name: str(v.get("description", "")) if isinstance(v, dict) else str(v) for name, v in declared.items()},
        output=output,
        settings=Settings().updated(settings),
        given=frozenset(settings),
    )
    findings = [error("table", path, spec.line(name), f"{name!r} must be a table", f"write [{name}]") for name in wrong]
    outputs, about_outputs = _outputs(spec, folder)
    findings += [*_keys(said, path), *_names(declared, spec), *about_output, *about_settings, *about_outputs]
    return replace(spec, outputs=outputs), findings


def _outputs(spec: Spec, folder: Path) -> tuple[dict[str, Spec], list[Finding]]:
    found: dict[str, Spec] = {}
    wrong: list[Finding] = []
    several, path = spec.said.get("outputs", {}), spec.path
    if several and "output" in spec.said:
        wrong.append(error("output", path, spec.line("output"), "has 'output' and [outputs]", "keep one of them"))
    if len(several) == 1:
        wrong.append(error("output", path, None, "has one of [outputs]", "give at least two, or write output = …"))
    for name, about in several.items():
        key = f"outputs.{name}"
        if not isinstance(about, dict):
            wrong.append(error("table", path, spec.line(name), f"{name!r} must be a table", f"write [{key}]"))
            continue
        if not _is_usable(name) or name in spec.inputs or name in spec.parameters:
            fix = "use letters, digits and _, and another name than those of inputs and parameters"
            wrong.append(error("name", path, spec.line(key), f"{name!r} cannot be the name of an output", fix))
        output, about_output = _output(about, folder, path, key)
        wrong += [*_keys(about, path, _OF_OUTPUT, key), *about_output]
        own = dict(zip(sorted(GIVEN), (str(about.get("description", "")), name), strict=True))
        said = {n: value for n, value in spec.said.items() if n != "outputs"} | about
        found[name] = replace(spec, said=said, output=output, parameters={**spec.parameters, **own}, target=name)
    return found, wrong


def line_of(path: Path, key: str, *, after: str | None = None) -> int | None:
    """Find the line of a key, the first or the first after another, for messages: tomllib does not tell."""
    start = (line_of(path, after) or 0) if after else 0
    for number, line in enumerate(read_file(path).split("\n"), start=1):
        if number > start and re.match(rf"\s*\[?\s*[\"']?{re.escape(key)}[\"']?\s*[=\]]", line):
            return number
    return None


def _keys(
    said: Mapping[str, Any], path: Path, known: Sequence[str] = KEYS, after: str | None = None
) -> Iterator[Finding]:
    for key in said:
        if key not in known:
            message = f"unknown key {key!r}{did_you_mean(key, known)}"
            yield error(
                "unknown-key", path, line_of(path, key, after=after), message, f"the keys are {', '.join(known)}"
            )


def _default(value: Any) -> Any:
    """Give the default of an input: one with `optional = true` or a `default` is a table, any other a description."""
    if isinstance(value, dict):
        return None if value.get("optional") else value.get("default", REQUIRED)
    return REQUIRED


def _names(declared: Iterable[str], spec: Spec) -> Iterator[Finding]:
    for name in declared:
        line = spec.line(name, after="inputs")
        if not _is_usable(name):
            fix = "use letters, digits and _, and neither output, labels, descriptions nor id"
            yield error("name", spec.path, line, f"{name!r} cannot be the name of an input", fix)
        if name in spec.parameters:
            yield error("name", spec.path, line, f"{name!r} is an input and a parameter", "keep one of them")


def _is_usable(name: str) -> bool:
    return name.isidentifier() and name not in (*PROVIDED, "id")


def _output(
    said: Mapping[str, Any], folder: Path, path: Path, after: str | None = None
) -> tuple[Output[Any] | None, list[Finding]]:
    """Read the output, and find all that is wrong with it; `after` is the key of the table that it stands in."""
    wanted, words, descriptions = said.get("output"), said.get("words", {}), said.get("descriptions", {})
    if wanted is None:
        fix = 'add output = a list of labels, "text", "number" or "schema.json"'
        line, where = (line_of(path, after), f"[{after}] ") if after else (None, "")
        return None, [error("output", path, line, f"{where}has no 'output'", fix)]
    if isinstance(wanted, list) and (found := list(_labels(wanted, said, path, after))):
        return None, found
    if (isinstance(wanted, str) and wanted not in ("text", "number") and not wanted.endswith(".json")) or (
        isinstance(wanted, dict) and not is_tree(wanted) and not wanted.keys() & _OF_SCHEMA
    ):
        fix = 'give a list of labels, "text", "number" or "schema.json"; descriptions of labels stand in [descriptions]'
        return None, [error("output", path, line_of(path, "output", after=after), f"output is {brief(wanted)}", fix)]
    try:
        if isinstance(wanted, str) and wanted.endswith(".json"):
            return output_of(json.loads(read_file(folder / Path(wanted).name))), []
        if isinstance(wanted, list):
            return replace(labels_of(wanted), words=words, descriptions=descriptions), []
        if isinstance(wanted, dict) and "any_of" in wanted:
            several = output_of(wanted)
            assert isinstance(several, LabelSet)  # noqa: S101 - `any_of` makes nothing else
            return replace(several, of=replace(several.of, words=words, descriptions=descriptions)), []
        output = Text(optional=said.get("optional")) if wanted == "text" else output_of(wanted)
        if isinstance(output, Labels) and output.groups:
            output = replace(output, words=words, descriptions=descriptions)
        return output, []
    except TaskError as problem:
        return None, [of_error("output", path, problem)]
    except (ValueError, TypeError, OSError, RecursionError) as problem:
        return None, [error("output", path, line_of(path, "output", after=after), f"output: {problem}")]


def _labels(labels: list[Any], said: Mapping[str, Any], path: Path, after: str | None) -> Iterator[Finding]:
    line = line_of(path, "output", after=after)
    names = [label_of(label) for label in labels]
    for label, count in Counter(names).items():
        if count > 1:
            yield error("duplicate-label", path, line, f"the label {label!r} stands {count} times", "keep one")
    for label in labels:
        if not isinstance(label, str | int) or not label_of(label).strip():
            what = "a text that is not blank" if isinstance(label, str) else "a text, a whole number or a boolean"
            yield error("label", path, line, f"a label must be {what}, not {label!r}", "quote it")
    if len(labels) < 2:
        yield error("label", path, line, "one label leaves nothing to choose", "give at least two")
    for key in ("words", "descriptions"):
        for label in said.get(key, {}):
            if label not in names:
                message = f"[{key}] names {label!r}, which is none of the labels{did_you_mean(label, names)}"
                fix = f"the labels are {', '.join(names)}"
                yield error("unknown-label", path, line_of(path, label), message, fix)


def _settings(given: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], list[Finding]]:
    known, valid, found = table(Settings), {}, []
    for name, value in given.items():
        if name in known and not known[name].in_folder:
            message = f"{name!r} has no place in a task folder"
            found.append(error("setting", path, line_of(path, name), message, "set it in the environment or the call"))
            continue
        try:
            Settings().updated({name: value})
        except InputError as problem:
            found.append(error("setting", path, line_of(path, name), f"settings: {problem}"))
        else:
            valid[name] = value
    return valid, found
