"""A new task folder that works at once, and teaches by its comments what can be changed in it."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot.authoring.check import TEST_FILE
from fewshot.authoring.check_spec import PLACEHOLDER
from fewshot.errors import InputError
from fewshot.folders.loader import NAME
from fewshot.outputs.numbers import literal_number

__all__ = ["Plan", "planned", "write_folder"]

_MOST_LABELS = 20
"""A column with more different values is taken for texts."""
_SHOTS_PER_LABEL = 3
_SHOTS = 8
_USUAL_OUTPUTS = ("output", "label", "target", "answer")
_USUAL_INPUTS = ("text", "input", "question", "query")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a new folder is to hold."""

    name: str
    description: str
    output: tuple[str, ...] | str
    """Labels, `"text"` or `"number"`."""
    inputs: tuple[str, ...] = ("text",)
    examples: tuple[Mapping[str, Any], ...] = ()
    """Rows of the inputs and `output`; without any, one to be replaced is written for each label."""
    tests: tuple[Mapping[str, Any], ...] = ()
    """Rows kept apart to evaluate on."""

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise InputError(f"{self.name!r} is no task name: use lower-case letters, digits, _ and -", field="name")
        if isinstance(self.output, tuple) and len(set(self.output)) < 2:
            raise InputError("give at least two labels, separated by commas, or 'text' or 'number'", field="labels")
        if isinstance(self.output, str) and self.output not in ("text", "number"):
            raise InputError(f"output={self.output!r} must be 'text' or 'number', or give labels", field="output")
        for name in self.inputs:
            if not name.isidentifier():
                raise InputError(f"the input {name!r} is no name: use letters, digits and _", field="inputs")


def planned(
    name: str,
    *,
    output: Sequence[str] | str | None = None,
    inputs: Sequence[str] = (),
    description: str = "",
    rows: Sequence[Mapping[str, Any]] = (),
    hold_out: int = 0,
) -> Plan:
    """Fill in what is not said from the rows that are given.

    Arguments:
        output: labels, `"text"` or `"number"`; by default what the rows' outputs look like.
        inputs: names of the inputs; by default the rows' columns, or else `text`.
        rows: labelled rows to take examples from.
        hold_out: how many of them, drawn at random, to keep apart for evaluation.

    Raises:
        InputError: there is no telling what the output is, or a name cannot be one.
    """
    columns = list(rows[0]) if rows else []
    target = next((name for name in _USUAL_OUTPUTS if name in columns), None)
    if rows and target is None:
        raise InputError(
            f"say which column holds the answer with --map output=COLUMN: {', '.join(columns)}", field="map"
        )
    asked = tuple(inputs) or _inputs_in(columns, target) or ("text",)
    kept = [{name: row[name] for name in asked if name in row} | {"output": row[target]} for row in rows if target]
    found = output if output is not None else _output_of([row["output"] for row in kept])
    if not 0 <= hold_out < max(len(kept), 1):
        raise InputError(f"hold_out={hold_out} of {len(kept)} rows leaves no example", field="hold_out")
    drawn = frozenset(random.Random(0).sample(range(len(kept)), hold_out))  # noqa: S311 - no secret
    return Plan(
        name=name,
        description=description or f"Say here in a sentence what the task does. {PLACEHOLDER}",
        output=found if isinstance(found, str) else tuple(found),
        inputs=asked,
        examples=tuple(row for place, row in enumerate(kept) if place not in drawn),
        tests=tuple(row for place, row in enumerate(kept) if place in drawn),
    )


def write_folder(plan: Plan, into: Path = Path("templates")) -> Path:
    """Write a task folder, whole or not at all; raises InputError when there is one of that name."""
    folder = into / plan.name
    if folder.exists():
        raise InputError(f"{folder} is there already; choose another name or edit its files", field="name")
    into.mkdir(parents=True, exist_ok=True)
    files = {"task.toml": _toml(plan), "prompt.jinja": _prompt(plan), "examples.jsonl": _rows(_examples(plan))}
    if plan.tests:
        files[TEST_FILE] = _rows(plan.tests)
    draft = Path(tempfile.mkdtemp(prefix=f".{plan.name}-", dir=into))
    try:
        for name, text in files.items():
            (draft / name).write_text(text, encoding="utf-8")
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return folder


def _inputs_in(columns: Sequence[str], target: str | None) -> tuple[str, ...]:
    usual = next((name for name in _USUAL_INPUTS if name in columns and name != target), None)
    return (usual,) if usual else tuple(name for name in columns if name not in (target, "id"))


def _output_of(values: Sequence[Any]) -> tuple[str, ...] | str:
    """Tell labels, numbers and texts apart by what is there."""
    if not values:
        raise InputError("say what it answers: --labels a,b,c, or --output text, or --output number", field="output")
    different = tuple(dict.fromkeys(map(str, values)))
    if 1 < len(different) <= min(_MOST_LABELS, len(values) // 2):
        return different
    numbers = [isinstance(v, int | float) or (isinstance(v, str) and literal_number(v) is not None) for v in values]
    return "number" if all(numbers) else "text"


def _toml(plan: Plan) -> str:
    labels = plan.output if isinstance(plan.output, tuple) else ()
    shots = len(_examples(plan))
    k = min(shots, _SHOTS_PER_LABEL * len(labels) if labels else _SHOTS)
    inputs = "\n".join(f'{name} = "the {_spoken(name)}"' for name in plan.inputs)
    lines = [
        f"# `fewshot show {plan.name}` prints the prompt that this makes; `fewshot check {plan.name}` finds mistakes.",
        f"description = {_quoted(plan.description)}",
        'version = "1"        # stands in every result; raise it when answers may change',
        f"output = {_quoted(plan.output)}        # {_about_output(labels)}",
        "",
        "[inputs]             # what a call gives: each name with what it means",
        inputs,
        "",
    ]
    if labels:
        lines += [
            "# [descriptions]     # what a label means; prompt.jinja shows it to the model",
            *(f'# {_key(label)} = "…"' for label in labels),
            "",
        ]
    lines += [
        "[settings]           # how it is asked; a call can override each: load(…, k=4)",
        f"k = {k}{' ' * (17 - len(str(k)))}# how many examples a prompt shows",
    ]
    if labels:
        lines += ['select = "balanced"  # labels in turn; or "first", "random", "bm25" (those most like the question)']
        lines += ["# min_confidence = 0.7   # abstain (None) below this probability"]
    else:
        lines += ["# max_tokens = 256   # the longest answer"]
    return "\n".join(lines) + "\n"


def _about_output(labels: Sequence[str]) -> str:
    return 'the labels; or "text", "number"' if labels else 'or "text", "number", or labels: ["yes", "no"]'


def _prompt(plan: Plan) -> str:
    labels = isinstance(plan.output, tuple)
    task = plan.description if "{" not in plan.description else f"{{{{ {_quoted(plan.description)} }}}}"
    instruction = [task]
    if labels:
        instruction += [
            'Answer with one of: {{ labels | join(", ") }}.',
            "{% for label in labels if label in descriptions %}",
        ]
        instruction += ["{{ label }}: {{ descriptions[label] }}", "{% endfor %}"]
    elif plan.output == "number":
        instruction += ["Answer with a number only."]
    shown = [f"{_spoken(name).capitalize()}: {{{{ {name} }}}}" for name in plan.inputs]
    return "\n".join(
        [
            "{# What the model reads. The instruction comes first and stays the same for every call. #}",
            "{% block instruction %}",
            *instruction,
            "{% endblock %}",
            "",
            "{# How one input looks, in the examples as in the question. #}",
            "{% block input %}",
            *shown,
            "{% endblock %}",
            "",
            "{# How an answer looks: what stands before the output is the cue that the question ends with. #}",
            f"{{% block output %}}{'Label' if labels else 'Answer'}: {{{{ output }}}}{{% endblock %}}",
            "",
        ]
    )


def _examples(plan: Plan) -> Sequence[Mapping[str, Any]]:
    if plan.examples:
        return plan.examples
    if isinstance(plan.output, tuple):
        return [
            {name: f"Write here a {_spoken(name)} whose answer is {label}. {PLACEHOLDER}" for name in plan.inputs}
            | {"output": label}
            for label in plan.output
        ]
    answer: object = 42 if plan.output == "number" else f"Write here its answer. {PLACEHOLDER}"
    return [{name: f"Write here a {_spoken(name)}. {PLACEHOLDER}" for name in plan.inputs} | {"output": answer}]


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(dict(row), ensure_ascii=False, default=str) + "\n" for row in rows)


def _quoted(value: str | Sequence[str]) -> str:
    """Write a text or a list of texts so that TOML and Jinja both read it."""
    return json.dumps(value if isinstance(value, str) else list(value), ensure_ascii=False)


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _key(label: str) -> str:
    return label if label.replace("_", "").replace("-", "").isalnum() and label.isascii() else _quoted(label)
