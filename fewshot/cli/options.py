"""The options that several commands share, and how they become a task; and the configuration that stands behind them.

The configuration is `fewshot.toml`, or `[tool.fewshot]` in `pyproject.toml`, where the command line is run:

    model = "fast"
    timeout = 120

    [aliases]
    fast = "gpt-6-luna"

A setting given on the command line or by a task's own folder wins. Where data goes and with which key is said in the
environment only: a file that came with somebody's folder must not send it elsewhere.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fewshot._checks import did_you_mean
from fewshot._options import Setting, meant, table
from fewshot.data.columns import Columns
from fewshot.data.importing import examples_from
from fewshot.errors import ConfigError, InputError
from fewshot.folders.loader import ships
from fewshot.functions import with_span_labels
from fewshot.outputs.kinds import Labels, LabelSet, output_of
from fewshot.outputs.strict_schema import outline
from fewshot.settings import Settings
from fewshot.task import Task, load

__all__ = [
    "Configuration",
    "add_column_options",
    "add_encoding_option",
    "add_settings",
    "add_task_options",
    "assigned",
    "check_ready",
    "columns_of",
    "configured",
    "counts",
    "given",
    "relabelled",
    "renamed",
    "risk_of",
    "setting_of",
    "shares",
    "task_of",
]


def add_task_options(parser: argparse.ArgumentParser, *, several_k: bool = False) -> None:
    """Add the task and the options that say which model answers it and how; `several_k` takes `--k 0,4,8`."""
    parser.add_argument("task", metavar="TASK", help="a task's name, or a path to its folder")
    who = parser.add_argument_group("who answers")
    add_settings(who, ("model", "base_url", "timeout", "price"))
    prompt = parser.add_argument_group("what is asked")
    if several_k:
        prompt.add_argument("--k", type=counts, metavar="K,K", dest="counts", help="how many shots; several: a curve")
    else:
        add_settings(prompt, ("k",))
    add_settings(prompt, ("select", "form"))
    prompt.add_argument("--examples", metavar="F", help="shots instead of the task's own: JSONL, JSON, CSV or Parquet")
    prompt.add_argument("--labels", metavar="A,B", help="the labels to choose from, instead of the task's own")
    prompt.add_argument("--schema", metavar="F", help="a JSON schema of the answer, instead of the task's own")
    prompt.add_argument("--redact", action="store_true", help="replace private data before sending; -o redact=email")
    prompt.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the task, as target=Korean"
    )
    answer = parser.add_argument_group("which answer counts")
    add_settings(answer, ("votes", "min_confidence"))
    parser.add_argument_group("anything else").add_argument(
        "-o", action="append", default=[], dest="settings", metavar="NAME=VALUE",
        help="any field of fewshot.settings.Settings, as temperature=0.7 or stop='[\"\\n\"]'",
    )  # fmt: skip


def add_settings(
    parser: argparse._ActionsContainer, names: Iterable[str], known: Mapping[str, Setting] | None = None
) -> None:
    """Add an option for each of these settings (or of other options, given their table), as its table says."""
    for name in names:
        about = (known or _SETTINGS)[name]
        metavar = f"{{{','.join(about.choices)}}}" if about.choices else _METAVARS.get(about.kind)
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=about.meaning.replace("`", ""))


def given(args: argparse.Namespace, names: Iterable[str], known: Mapping[str, Setting] | None = None) -> dict[str, Any]:
    """Read those of these settings (or other options, given their table) that the command line names.

    Raises:
        InputError: one has a value that it does not take.
    """
    known = known or _SETTINGS
    words = {name: word for name in names if isinstance(word := getattr(args, name, None), str)}
    return {name: known[name].from_text(name, word) for name, word in words.items()}


_NAMED = ("model", "base_url", "timeout", "k", "select", "form", "votes", "min_confidence", "price")
_SETTINGS = table(Settings)
_METAVARS = {"whole": "N", "number": "X", "price": "IN,OUT"}


def task_of(args: argparse.Namespace) -> Task[Any]:
    """Load the task that the arguments name, with their options, and those of the configuration that it lacks itself.

    Raises:
        TaskError: there is no such task. InputError: an option is not valid. ConfigError: the configuration is not.
    """
    task = load(args.task)
    options = given(args, _NAMED) | ({"redact": True} if args.redact else {})
    for name, value in assigned(args.settings, "-o"):
        options[name] = setting_of(name, value)
    for name, value in assigned(args.set, "--set"):
        if name not in task.parameters:
            near, there = did_you_mean(name, task.parameters), ", ".join(task.parameters) or "none"
            setting = f"; {name} is a setting: -o {name}={value}" if name in _SETTINGS else ""
            message = f"--set {name}={value}: {task.name} has no parameter {name!r}{near}; it has {there}{setting}"
            raise InputError(message, field=name)
        options[name] = _like(task.parameters[name], value)
    found = configured()
    options = {name: value for name, value in found.settings.items() if _is_default(task, name)} | options
    if "model" in options:
        options["model"] = found.aliases.get(options["model"], options["model"])
    if args.labels is not None:
        labels = [label.strip() for label in args.labels.split(",")]
        if not all(labels) or len(labels) < 1 + (not task.output.span_labels):
            message = f"--labels {args.labels!r}: give labels with a comma between, as bug,question"
            raise InputError(message, field="labels")
        task = relabelled(task, labels)
    if args.schema:
        task = _with_schema(task, Path(args.schema))
    if args.examples:
        options["examples"] = examples_from(args.examples)
    return task.using(**options) if options else task


def check_ready(task: Task[Any], args: argparse.Namespace) -> None:
    """Refuse to ask with what only stands in for something that the caller must give.

    Raises:
        ConfigError: says which option gives it.
    """
    option = _STANDS_IN.get(task.name)
    if option and task.path and ships(task.path) and not getattr(args, option):
        raise ConfigError(f"{task.name} needs what you want of it: give --{option}, as {_FOR_EXAMPLE[option]}")


_STANDS_IN = {"classify": "labels", "tag": "labels", "pattern": "examples"}
"""Shipped tasks whose folder holds only a stand-in, and the option that replaces it."""
_FOR_EXAMPLE = {"labels": "--labels bug,question,refund", "examples": "--examples pairs.jsonl"}


def assigned(assignments: Iterable[str], option: str, form: str = "NAME=VALUE") -> Iterator[tuple[str, str]]:
    """Read `NAME=VALUE`s; raises InputError, which names the option and the form, for one that is not."""
    part = str.rpartition if form == "LABEL=SHARE" else str.partition  # a label may hold an equals sign, a name may not
    for assignment in assignments:
        name, equals, value = part(assignment, "=")
        if not equals or not name or not (value or form == "NAME=VALUE"):
            raise InputError(f"{option} {assignment!r} must be {form}", field=option.lstrip("-:"))
        yield name.strip(), value


def shares(text: str | None, option: str) -> dict[str, float] | None:
    """Read `positive=0.7,negative=0.3`; None stays None. Raises InputError for anything else."""
    if text is None:
        return None
    try:
        return {label: float(share) for label, share in assigned(text.split(","), option, "LABEL=SHARE")}
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{option} {text!r} must be LABEL=SHARE: {error}", field=option.lstrip("-")) from error


def risk_of(text: str | None) -> float | dict[str, float] | None:
    """Read `0.05`, or for fields of a record `topic=0.05,priority=0.1`; raises InputError for anything else."""
    if text is None or "=" in text:
        return shares(text, "--risk")
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"--risk {text!r} must be a share such as 0.05, or FIELD=SHARE", field="risk") from error


def setting_of(name: str, text: str) -> Any:
    """Read a setting as it is typed: a text as it stands, and others as JSON has them."""
    if name not in _SETTINGS:
        raise InputError(f"-o {name}={text}: unknown setting {name!r}{meant(name, _SETTINGS)}", field=name)
    if name in _SECRET:
        raise InputError(f"-o {name}: set it in the environment, where no list of processes shows it", field=name)
    return _SETTINGS[name].from_text(name, text)


_SECRET = ("api_key", "client")


def _is_default(task: Task[Any], name: str) -> bool:
    return bool(getattr(task.settings, name) == _SETTINGS[name].default)


def _with_schema(task: Task[Any], path: Path) -> Task[Any]:
    """Give the task with another schema, and without the shots that are for its own."""
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
        output = output_of(schema)
    except OSError as error:
        raise InputError(f"--schema {path} cannot be read: {error.strerror}", field="schema") from error
    except ValueError as error:
        raise InputError(f"--schema {path} is not a JSON schema: {error}", field="schema") from error
    fields_ = {"fields": outline(schema)} if "fields" in task.parameters else {}
    return task.using(output=output, examples=(), **fields_)


def relabelled(task: Task[Any], labels: list[str]) -> Task[Any]:
    """Give the task with these labels; those that it has keep their words, descriptions and shots.

    Raises:
        InputError: the task has no labels, or these cannot be told apart.
    """
    known = task.output
    if isinstance(known, LabelSet):
        return task.using(output=replace(known, of=Labels(tuple(labels))), examples=())
    if known.span_labels:
        return with_span_labels(task, labels)
    if not isinstance(known, Labels):
        raise InputError(f"{task.name} has no labels, so --labels means nothing to it", field="labels")
    shots = [example for example in task.examples if example.output in labels]
    words, descriptions, values = (
        {la: own[la] for la in labels if la in own} for own in (known.words, known.descriptions, known.values)
    )
    return task.using(output=Labels(tuple(labels), words, descriptions, values), examples=shots)


def counts(text: str) -> list[int]:
    """Read `0,4,8`; argparse names the option when this fails."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} must be whole numbers from 0 on, such as 4 or 0,4,8")
    return [int(part) for part in parts]


def _like(known: object, value: str) -> object:
    """Read a parameter's value as the type that its default has."""
    if isinstance(known, bool) or not isinstance(known, int | float):
        return value
    try:
        return type(known)(value)
    except ValueError as error:
        raise InputError(f"{value!r} is not a number") from error


def add_column_options(parser: argparse.ArgumentParser) -> None:
    """Add what tells which columns of a file are the task's inputs."""
    parser.add_argument("--map", action="append", default=[], metavar="INPUT=COLUMN", help="the column for an input")
    parser.add_argument("--input-column", metavar="COLUMN", help="the column for the task's one input")
    add_encoding_option(parser)


def add_encoding_option(parser: argparse._ActionsContainer) -> None:
    """Add what says how a file that is not UTF-8 is to be read."""
    parser.add_argument("--encoding", metavar="NAME", help="of a file that is not UTF-8: cp1252, cp949, utf-16, …")


def columns_of(task: Task[Any], args: argparse.Namespace) -> Columns:
    """Give the columns that `--map` and `--input-column` name.

    Raises:
        InputError: one of them names nothing, or too much. ConfigError: the task has no such input.
    """
    return Columns(task, renamed(task, args))


def renamed(task: Task[Any], args: argparse.Namespace) -> dict[str, str]:
    """Read which column is meant for which name; whether the task has these is not looked at."""
    columns = dict(assigned(args.map, "--map", "NAME=COLUMN"))
    if args.input_column:
        needed = Columns(task).needed
        if len(needed) != 1:
            raise InputError(f"{task.name} needs {', '.join(needed)}: say which column is which with --map")
        columns[needed[0]] = args.input_column
    return columns


@dataclass(frozen=True)
class Configuration:
    """What the file says; empty where there is none."""

    path: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Short names of models."""


def configured() -> Configuration:
    """Read the configuration of the current folder.

    Raises:
        ConfigError: the file is not valid; names the file and what is wrong.
    """
    path, said = _table()
    if path is None:
        return Configuration()
    aliases = said.pop("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(model, str) for model in aliases.values()):
        raise ConfigError(f'{path}: [aliases] must be names of models, as fast = "gpt-6-luna"')
    known = table(Settings)
    for name in said:
        if name in known and not known[name].in_folder:
            raise ConfigError(f"{path}: {name!r} has no place in a file of the folder; set it in the environment")
    try:
        Settings().updated(said)
    except InputError as error:
        raise ConfigError(f"{path}: {error}") from error
    return Configuration(path, said, aliases)


def _table() -> tuple[Path | None, dict[str, Any]]:
    for path, keys in ((Path("fewshot.toml"), ()), (Path("pyproject.toml"), ("tool", "fewshot"))):
        try:
            found: Any = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            if keys and "tool.fewshot" not in _text(path):
                continue
            raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return path, found
        if found is not None:
            raise ConfigError(f"{path}: [tool.fewshot] must be a table")
    return None, {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
