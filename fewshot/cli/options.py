"""The options that several commands share, and how they become a task."""

from __future__ import annotations

import argparse
from typing import Any

from fewshot.data.columns import Columns
from fewshot.errors import InputError
from fewshot.folders.loader import load
from fewshot.prompts.selection import SELECTORS
from fewshot.prompts.template import did_you_mean
from fewshot.task import Task

__all__ = ["add_column_options", "add_task_options", "columns_of", "counts", "renamed", "task_of"]


def add_task_options(parser: argparse.ArgumentParser, *, several_k: bool = False) -> None:
    """Add the task and the options that say which model answers it and how; `several_k` takes `--k 0,4,8`."""
    parser.add_argument("task", metavar="TASK", help="a task's name, or a path to its folder")
    parser.add_argument("--model", help="model name; 'local' or a GGUF file for the embedded model")
    parser.add_argument("--base-url", metavar="URL", help="an OpenAI-compatible server")
    if several_k:
        parser.add_argument("--k", type=counts, metavar="K,K", dest="counts", help="how many shots; several: a curve")
    else:
        parser.add_argument("--k", type=int, metavar="K", help="how many shots")
    parser.add_argument("--select", choices=SELECTORS, help="which shots; bm25 and embedding look at the question")
    parser.add_argument("--ensemble", type=int, metavar="N", help="average label probabilities over N draws of shots")
    parser.add_argument("--form", choices=("chat", "text"), help="chat turns or plain completion")
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds for one call as a whole")
    parser.add_argument("--min-confidence", type=float, metavar="P", help="abstain below this probability")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the task, as target=Korean"
    )


def task_of(args: argparse.Namespace) -> Task[Any]:
    """Load the task that the arguments name, with their options."""
    names = ("model", "base_url", "k", "select", "ensemble", "form", "timeout", "min_confidence")
    options: dict[str, Any] = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    task = load(args.task)
    for assignment in args.set:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment!r} must be NAME=VALUE")
        if name not in task.parameters:
            there = ", ".join(task.parameters)
            message = (
                f"--set {assignment!r}: {task.name} has no parameter {name!r}{did_you_mean(name, task.parameters)}"
            )
            raise InputError(f"{message}; it has {there or 'none'}", field=name)
        options[name] = _like(task.parameters[name], value)
    return task.using(**options) if options else task


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


def columns_of(task: Task[Any], args: argparse.Namespace) -> Columns:
    """Give the columns that `--map` and `--input-column` name.

    Raises:
        InputError: one of them names nothing, or too much. ConfigError: the task has no such input.
    """
    return Columns(task, renamed(task, args))


def renamed(task: Task[Any], args: argparse.Namespace) -> dict[str, str]:
    """Read which column is meant for which name; whether the task has these is not looked at."""
    columns = {}
    for assignment in args.map:
        name, equals, column = assignment.partition("=")
        if not equals or not column:
            raise InputError(f"--map {assignment!r} must be INPUT=COLUMN")
        columns[name] = column
    if args.input_column:
        needed = Columns(task).needed
        if len(needed) != 1:
            raise InputError(f"{task.name} needs {', '.join(needed)}: say which column is which with --map")
        columns[needed[0]] = args.input_column
    return columns
