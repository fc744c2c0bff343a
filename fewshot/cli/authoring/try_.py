"""`fewshot try TASK`: type an input, see the answer; edit the task's files, and the next answer uses them."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from fewshot._checks import REQUIRED
from fewshot.cli.options import add_task_options, assigned, task_of
from fewshot.cli.terminal import shown, tell_line
from fewshot.errors import FewshotError, InputError
from fewshot.result import Result, as_text, said
from fewshot.task import Task

__all__ = ["add_arguments", "run"]

_BAR = 24
_HELP = """\
  an input (or a JSON object of inputs)   asks
  :prompt                                 shows what was sent last
  :set NAME=VALUE                         sets a parameter of the task
  :help, :quit                            Ctrl-D ends it too"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and answer until the input ends; a broken file or a failed call is told in a line, and the loop goes on."""
    task = task_of(args)
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # not on every system
            import readline  # noqa: F401 - gives `input` its history
        print(shown(f"{task.name}: {task.description}\n{_HELP}"), file=sys.stderr)
    last: Result[Any] | None = None
    for line in _lines(f"{next(iter(task.inputs))}> "):
        if line == ":quit":
            break
        try:
            if not line.startswith(":"):
                task = task_of(args)  # the files may have been edited
                last = task.run(_inputs(task, line))
                _show(last)
            elif line == ":prompt":
                _show_prompt(last)
            elif line.startswith(":set "):
                assignment = line.removeprefix(":set ").strip()
                [(name, _)] = assigned([assignment], ":set")
                if name not in task_of(args).parameters:
                    raise InputError(f":set {assignment!r}: the parameters are {', '.join(task.parameters) or 'none'}")
                args.set.append(assignment)  # the last one of a name holds
            else:
                print(_HELP, file=sys.stderr)
        except FewshotError as error:
            tell_line(error)
    return 0


def _lines(prompt: str) -> Iterator[str]:
    """Give what is typed or piped in, line by line, without blank ones."""
    while True:
        try:
            line = input(prompt) if sys.stdin.isatty() else sys.stdin.readline()
        except EOFError:
            print(file=sys.stderr)
            return
        if not line and not sys.stdin.isatty():
            return
        if line.strip():
            yield line.strip()


def _inputs(task: Task[Any], line: str) -> Mapping[str, Any]:
    """Read a line as the inputs of a task; those that it does not hold are asked for."""
    if line.startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            if isinstance(row, dict):
                return row
    first, *others = task.inputs
    given = {first: line}
    if others and not sys.stdin.isatty() and any(task.inputs[name] is REQUIRED for name in others):
        raise InputError(f"{task.name} takes {', '.join(task.inputs)}: give each line as a JSON object of them")
    for name in others if sys.stdin.isatty() else ():
        optional = "" if task.inputs[name] is REQUIRED else " (may be empty)"
        if text := input(f"{name}{optional}> ").strip():
            given[name] = text
    return given


def _show(result: Result[Any]) -> None:
    """Print the answer and, where there are any, the probabilities as bars."""
    if result.error is not None:
        tell_line(result.error)
        return
    about = result.to_dict()
    value, chances = said(result), about["probabilities"]
    print(shown("(abstained)" if result.abstained else as_text(value)))
    if chances:
        width = max(map(len, chances))
        for label, share in sorted(chances.items(), key=lambda pair: -pair[1]):
            print(shown(f"  {label:<{width}}  {share:6.1%}  {'█' * round(share * _BAR)}"))
    elif result.confidence is not None:
        print(shown(f"  confidence {result.confidence:.1%}"))
    for warning in result.warnings:
        tell_line(warning)
    sys.stdout.flush()


def _show_prompt(last: Result[Any] | None) -> None:
    if last is None or last.request is None:
        raise InputError("nothing has been asked yet; type an input first")
    if last.request.text is not None:
        print(shown(last.request.text))
    for turn in last.request.chat:
        print(shown(f"[{turn.role}] {turn.content}"))
    sys.stdout.flush()
