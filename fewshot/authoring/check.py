"""The author's linter: everything that is wrong with a task folder, found in one go and without a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fewshot._checks import REQUIRED, did_you_mean, placeholders
from fewshot._task_files import check_file, is_there
from fewshot.authoring.check_examples import balance, examples_in, leaks, readable, repetitions
from fewshot.authoring.check_spec import idle_keys, idle_settings
from fewshot.authoring.check_template import check_template
from fewshot.data.examples import matching
from fewshot.errors import FewshotError, TaskError
from fewshot.folders.findings import Finding, error, of_error, warning
from fewshot.folders.loader import EXAMPLE_FILES, examples_file, find
from fewshot.folders.spec import GIVEN, Spec, read_spec
from fewshot.models.tokens import estimated_tokens
from fewshot.prompts.prompt import Prompt
from fewshot.task import Task, load
from fewshot.types import Example

__all__ = ["CALIBRATION_FILE", "TEST_FILE", "Checkup", "check"]

TEST_FILE, CALIBRATION_FILE = "test.jsonl", "calibration.jsonl"
"""Labelled rows in the folder itself that are kept apart from the examples."""
_KNOWN_FILES = ("task.toml", "prompt.jinja", "schema.json", TEST_FILE, CALIBRATION_FILE, "fit.json", *EXAMPLE_FILES)
_READ_SUFFIXES = (".toml", ".jinja", ".jinja2", ".j2", ".jsonl", ".json", ".csv")
_LONG_PROMPT = 6000
"""Tokens that leave the embedded model, with its 8,192, little room for a question and its answer."""


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What the linter found out about a task."""

    name: str
    path: str
    findings: tuple[Finding, ...]
    examples: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    """How many examples each label has."""
    tokens: Mapping[int, int] = field(default_factory=dict)
    """For a number of shots, about how many tokens a prompt has before the question."""
    k: int | None = None
    """How many shots the task shows."""
    longest: tuple[int, int] | None = None
    """Line of the longest example, and about how many tokens it has."""

    @property
    def ok(self) -> bool:
        """Whether there are no errors; warnings may be there."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Give the checkup as plain JSON values."""
        tokens = {str(k): tokens for k, tokens in self.tokens.items()}
        return asdict(self) | {"ok": self.ok, "tokens": tokens}


def check(name: str | os.PathLike[str], *, against: str | os.PathLike[str] | None = None) -> Checkup:
    """Find everything that is wrong with a task.

    Arguments:
        name: a task's name, or a path to its folder.
        against: a file of test rows that must not share a row with the examples; by default the folder's own
            `test.jsonl`, if there is one.

    Raises:
        TaskError: there is no such task, or the test file cannot be read.
    """
    folder = find(name)
    if unread := list(_unread(folder)):
        return Checkup(name=folder.absolute().name, path=str(folder), findings=_sorted(unread, folder))
    spec, found = read_spec(folder)
    found += _files(folder)
    if spec.unread:  # what it declares is not known, so nothing else can be held against it
        return Checkup(name=folder.absolute().name, path=str(folder), findings=_sorted(found, folder))
    path = examples_file(folder)
    parts = [(part, examples_in(path, part) if path else ([], [])) for part in spec.outputs.values() or (spec,)]
    for part, (examples, about_examples) in parts:
        in_rows = frozenset(key for example in examples for key in example.inputs)
        template, about_template = check_template(
            folder / "prompt.jinja", part.inputs, part.parameters, in_rows=in_rows | GIVEN
        )
        found += [*about_template, *about_examples]
        found += [*idle_keys(part), *idle_settings(part, _most_shots(examples, part))]
        if template is not None and part.output is not None:
            cue, about_prompt = _prompt(Prompt(template, part.output, part.parameters, tuple(examples)), part)
            found += about_prompt
            if path:
                found += readable(examples, part.output, cue, path)
    facts: dict[str, Any] = {}
    task = None if any(finding.severity == "error" for finding in found) else _loaded(folder, found)
    if task is not None:
        try:
            each = {one.name: _facts(one) for one in _each(task)}
            facts = _facts_of_all(each) if task.members else each[task.name]
            for one in _each(task):
                found += _long(each[one.name]["tokens"], one, folder)
        except FewshotError as problem:  # what only a whole prompt shows
            found.append(_finding(problem, folder))
            task = None
    for (part, (examples, _)), member in zip(parts, _each(task) if task else [None] * len(parts), strict=True):
        if path is None:
            break
        found += repetitions(examples, part, path)
        found += balance(examples, _shown(member) if member else examples, part, path)
        for test in [Path(against)] if against else [folder / TEST_FILE] if (folder / TEST_FILE).is_file() else []:
            found += leaks(examples, part, path, test)
    return Checkup(name=folder.absolute().name, path=str(folder), findings=_sorted(found, folder), **facts)


def _unread(folder: Path) -> Iterator[Finding]:
    """Find files that are not read for what they are: links out of the folder, devices, files without end."""
    for path in (folder / name for name in _KNOWN_FILES if is_there(folder / name)):
        try:
            check_file(path)
        except TaskError as problem:
            yield of_error("file", path, problem)


def _files(folder: Path) -> Iterator[Finding]:
    there = [name for name in EXAMPLE_FILES if (folder / name).is_file()]
    for name in there[1:]:
        yield warning("unread-file", folder / name, None, f"is not read: {there[0]} is", "keep one of them")
    for file in sorted(folder.iterdir()):
        if file.suffix in _READ_SUFFIXES and file.name not in _KNOWN_FILES:
            message = f"is not read{did_you_mean(file.name, _KNOWN_FILES)}"
            yield warning("unread-file", file, None, message, f"the files are {', '.join(_KNOWN_FILES)}")


def _prompt(prompt: Prompt, spec: Spec) -> tuple[str, list[Finding]]:
    """Render what can be rendered; give the cue, and what goes wrong."""
    path, found = Path(prompt.template.path), []
    filled = {name: f"<{name}>" for name in spec.inputs}
    bare = {name: default for name, default in filled.items() if spec.inputs[name] is REQUIRED}
    kinds: list[Mapping[str, Any]] = [filled, {**dict.fromkeys(spec.inputs), **bare}]
    for inputs in [*kinds, *(example.inputs for example in prompt.examples)]:
        try:
            prompt.turn(inputs)
        except TaskError as problem:
            found.append(of_error("render", path, problem))
        except FewshotError as problem:
            found.append(error("render", path, None, str(problem)))
    try:
        instruction, cue = prompt.instruction, prompt.cue
    except TaskError as problem:
        return "", [*dict.fromkeys(found), of_error("render", path, problem)]
    labels = [*prompt.output.words_of_labels.values()]
    missing = [label for label in labels if label.casefold() not in instruction.casefold()]
    if missing:
        message = f"the instruction does not say the label{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"
        found.append(warning("labels-unsaid", path, 1, message, 'print {{ labels | join(", ") }} in it'))
    if spec.said.get("descriptions") and "descriptions" not in prompt.template.variables.get("instruction", {}):
        message = "[descriptions] does nothing in the prompt"
        fix = "print {{ descriptions[label] }} for each label in the instruction"
        found.append(warning("idle-key", spec.path, spec.line("descriptions"), message, fix))
    return cue, list(dict.fromkeys(found))


def _loaded(folder: Path, found: list[Finding]) -> Task[Any] | None:
    try:
        return load(folder.absolute())
    except FewshotError as problem:
        found.append(_finding(problem, folder))
        return None


def _finding(problem: FewshotError, folder: Path) -> Finding:
    if isinstance(problem, TaskError):
        return of_error("load", problem.path or folder, problem)
    return error("load", folder / "task.toml", None, str(problem))


def _facts(task: Task[Any]) -> dict[str, Any]:
    count = len(task.examples)
    closed = task.output.labels or ()
    lengths = {example.line: estimated_tokens(_shot(task, example)) for example in task.examples}
    return {
        "examples": count,
        "labels": {
            label: sum(label in task.output.labels_in(example.output) for example in task.examples) for label in closed
        },
        "tokens": {
            k: _tokens(task, k) for k in sorted({0, 1, 2, 4, 8, 16, 32, len(_shown(task)), count}) if k <= count
        },
        "k": len(_shown(task)),
        "longest": max(lengths.items(), key=lambda pair: pair[1], default=None),
    }


def _each(task: Task[Any]) -> Sequence[Any]:
    return task.members or (task,)


def _facts_of_all(each: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Join the facts of several outputs: what their prompts take together, and each label under its output."""
    first = next(iter(each.values()))
    return {
        **first,
        "labels": {f"{name}: {label}": n for name, facts in each.items() for label, n in facts["labels"].items()},
        "tokens": {k: sum(facts["tokens"].get(k, 0) for facts in each.values()) for k in first["tokens"]},
    }


def _shot(task: Task[Any], example: Example) -> str:
    return Prompt(task.template, task.output, task.parameters, (example,)).shots_text


def _tokens(task: Task[Any], k: int) -> int:
    return estimated_tokens(Prompt(task.template, task.output, task.parameters, task.examples[:k]).text_prefix)


def _long(tokens: Mapping[int, int], task: Task[Any], folder: Path) -> Iterator[Finding]:
    shown = tokens[len(_shown(task))]
    if shown > _LONG_PROMPT:
        message = f"a prompt has about {shown:,} tokens before the question"
        yield warning("long-prompt", folder / "task.toml", None, message, "set k in [settings]")


def _shown(task: Task[Any]) -> tuple[Example, ...]:
    """Give the shots of a prompt for which nothing is known of the question."""
    by_question = task.settings.select in ("bm25", "embedding")
    plain = task.using(select="first") if by_question else task
    return plain._prompts.offline(placeholders(task.inputs)).examples


def _most_shots(examples: Sequence[Example], spec: Spec) -> int:
    """Give how many examples any question can be shown at most: a row may be for other parameters."""
    most = 0
    for example in {json.dumps([list(e.inputs), _parameters(e, spec)], default=str): e for e in examples}.values():
        inputs = {name: value for name, value in example.inputs.items() if name in spec.inputs}
        most = max(most, len(matching(examples, inputs, _parameters(example, spec))))
    return most


def _parameters(example: Example, spec: Spec) -> dict[str, Any]:
    return {name: example.inputs.get(name, value) for name, value in spec.parameters.items()}


def _sorted(findings: list[Finding], folder: Path) -> tuple[Finding, ...]:
    """Sort by file and line, with paths as the author wrote the folder's."""
    absolute = str(folder.absolute())
    order = {str(folder / name): place for place, name in enumerate(_KNOWN_FILES)}
    placed = [
        Finding(f.severity, f.code, f.path.replace(absolute, str(folder), 1), f.line, f.message, f.fix)
        for f in findings
    ]
    return tuple(sorted(dict.fromkeys(placed), key=lambda f: (order.get(f.path, len(order)), f.path, f.line or 0)))
