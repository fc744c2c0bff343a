"""A new task folder that works at once, and teaches by its comments what can be changed in it."""

from __future__ import annotations

import json
import os
import random
import shutil
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from fewshot.authoring.check import TEST_FILE
from fewshot.authoring.check_spec import PLACEHOLDER
from fewshot.data.columns import INPUTS
from fewshot.data.examples import answer_column
from fewshot.errors import ConfigError, InputError, TaskError
from fewshot.folders.loader import NAME
from fewshot.outputs.numbers import literal_number
from fewshot.prompts.sandbox import environment, rendered
from fewshot.prompts.template import PROVIDED
from fewshot.task import load

__all__ = ["LANGUAGES", "Plan", "planned", "write_folder"]

_WORDS = tomllib.loads(Path(__file__).with_name("scaffold.toml").read_text(encoding="utf-8"))
LANGUAGES = tuple(_WORDS)
"""In which a folder can be written, by their codes."""
_MOST_LABELS = 20
"""A column with more different values is taken for texts."""
_SHOTS_PER_LABEL = 3
_SHOTS = 8


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
    language: str = "en"
    """What the folder is written in, for the model and for its author."""

    def say(self, text: str, **names: object) -> str:
        """Give one of the texts of `scaffold.toml` in the folder's language."""
        return str(_WORDS[self.language][text]).format(placeholder=PLACEHOLDER, **names)

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise InputError(f"{self.name!r} is not a task name: use lower-case letters, digits, _ and -", field="name")
        if isinstance(self.output, tuple) and len(set(self.output)) < 2:
            raise InputError("give at least two labels, separated by commas, or 'text' or 'number'", field="labels")
        if isinstance(self.output, str) and self.output not in ("text", "number"):
            raise InputError(f"output={self.output!r} must be 'text' or 'number', or give labels", field="output")
        for name in self.inputs:
            if not name.isidentifier() or name in (*PROVIDED, "id"):
                raise InputError(f"the input cannot be named {name!r}: use letters, digits and _", field="inputs")


def planned(
    name: str,
    *,
    output: Sequence[str] | str | None = None,
    inputs: Sequence[str] = (),
    description: str = "",
    rows: Sequence[Mapping[str, Any]] = (),
    hold_out: int = 0,
    language: str | None = None,
) -> Plan:
    """Fill in what is not said from the rows that are given.

    Arguments:
        output: labels, `"text"` or `"number"`; by default what the rows' outputs look like.
        inputs: names of the inputs; by default the rows' columns, or else `text`.
        rows: labelled rows to take examples from.
        hold_out: how many of them, drawn at random from each label in turn, to keep apart for evaluation.
        language: what the folder is written in, `"en"` or `"ko"`; by default the language of the description.

    Raises:
        InputError: there is no telling what the output is, or a name cannot be one.
    """
    columns = list(rows[0]) if rows else []
    target = answer_column(rows[0], inputs) if rows else None
    if rows and target is None:
        raise InputError(
            f"it has {', '.join(columns)}: say which column holds the answer with --map output=COLUMN", field="map"
        )
    asked = tuple(unicodedata.normalize("NFC", name) for name in inputs or _inputs_in(columns, target) or ("text",))
    spoken = language or ("ko" if any("\uac00" <= sign <= "\ud7a3" for sign in description) else "en")
    kept = [{name: row[name] for name in asked if name in row} | {"output": row[target]} for row in rows if target]
    several = next((n for n, row in enumerate(kept, start=1) if isinstance(row["output"], list)), None)
    if several is not None and output != "text":
        told = ", ".join(map(str, kept[several - 1]["output"])) or "none"
        raise InputError(f"row {several} has not one label but several ({told}): give rows with one each", row=several)
    found = output if output is not None else _output_of([row["output"] for row in kept])
    if hold_out < 0:
        raise InputError(f"hold_out={hold_out} must be 0 or more", field="hold_out")
    if hold_out >= max(len(kept), 1):
        raise InputError(f"hold_out={hold_out} of {len(kept)} rows leaves no example", field="hold_out")
    drawn = _held_out(kept, hold_out, by_label=not isinstance(found, str))
    return Plan(
        name=name,
        description=description or _WORDS[spoken]["describe"].format(placeholder=PLACEHOLDER),
        output=found if isinstance(found, str) else tuple(found),
        inputs=asked,
        examples=tuple(row for place, row in enumerate(kept) if place not in drawn),
        tests=tuple(row for place, row in enumerate(kept) if place in drawn),
        language=spoken,
    )


def _held_out(rows: Sequence[Mapping[str, Any]], count: int, *, by_label: bool) -> frozenset[int]:
    """Draw the rows to keep apart, from the label that has most of them left, so that each keeps its share of shots."""
    places = random.Random(0).sample(range(len(rows)), len(rows))  # noqa: S311 - no secret
    if not by_label:
        return frozenset(places[:count])
    left: dict[str, list[int]] = {}
    for place in places:
        left.setdefault(str(rows[place]["output"]), []).append(place)
    return frozenset(max(left.values(), key=len).pop() for _ in range(count))


def write_folder(plan: Plan, into: Path = Path("templates")) -> Path:
    """Write a task folder, whole or not at all.

    Raises:
        InputError: there is one of that name, or what was planned is not a valid task.
        ConfigError: it cannot be written.
    """
    folder = into / plan.name
    if folder.exists():
        raise InputError(f"{folder} is there already; choose another name or edit its files", field="name")
    files = {
        "task.toml": _rendered("scaffold_task.jinja", plan),
        "prompt.jinja": _rendered("scaffold_prompt.jinja", plan),
        "examples.jsonl": _rows(_examples(plan)),
    }
    if plan.tests:
        files[TEST_FILE] = _rows(plan.tests)
    draft = into / f".{plan.name}-{token_hex(4)}"
    try:
        draft.mkdir(mode=0o700, parents=True)
        for name, text in files.items():
            (draft / name).write_text(text, encoding="utf-8")
        load(draft).render(dict.fromkeys(plan.inputs, "x"))  # a name that the template language keeps for itself, say
        draft.chmod(0o755)
        draft.rename(folder)
    except TaskError as error:
        shutil.rmtree(draft, ignore_errors=True)
        fault = str(error).replace(f"{draft}{os.sep}", "")
        raise InputError(f"this does not make a task: {fault}; choose other names or labels", field="inputs") from error
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise ConfigError(f"{folder} cannot be written: {error.strerror}; name another place with --into") from error
    return folder


def _inputs_in(columns: Sequence[str], target: str | None) -> tuple[str, ...]:
    usual = next((name for name in INPUTS if name in columns and name != target), None)
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


def _rendered(name: str, plan: Plan) -> str:
    """Write one of the files from its template, whose signs are `<%` and `<<`: what it makes is a template too."""
    made = environment().overlay("<%", "%>", "<<", ">>", "<#", "#>")
    labels = plan.output if isinstance(plan.output, tuple) else ()
    shots = len(_examples(plan))
    k = str(min(shots, _SHOTS_PER_LABEL * len(labels) if labels else _SHOTS))
    template = made.from_string(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    known = {"say": plan.say, "quoted": _quoted, "spoken": _spoken, "key": _key}
    return rendered(template.generate(plan=plan, labels=labels, k=k, **known))


def _examples(plan: Plan) -> Sequence[Mapping[str, Any]]:
    if plan.examples:
        return plan.examples
    if isinstance(plan.output, tuple):
        return [
            {name: plan.say("write_for_label", name=_spoken(name), label=label) for name in plan.inputs}
            | {"output": label}
            for label in plan.output
        ]
    answer: object = 42 if plan.output == "number" else plan.say("write_answer")
    return [{name: plan.say("write_input", name=_spoken(name)) for name in plan.inputs} | {"output": answer}]


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(dict(row), ensure_ascii=False, default=str) + "\n" for row in rows)


def _quoted(value: str | Sequence[str]) -> str:
    """Write a text or a list of texts so that TOML and Jinja both read it."""
    text = json.dumps(value if isinstance(value, str) else list(value), ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # JSON lets it stand, TOML does not


def _spoken(name: str) -> str:
    return name.replace("_", " ")


def _key(label: str) -> str:
    return label if label.replace("_", "").replace("-", "").isalnum() and label.isascii() else _quoted(label)
