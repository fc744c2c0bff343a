"""`fewshot tasks`: what can be run, and from where."""

from __future__ import annotations

import argparse
import json
import sys

from fewshot.cli.terminal import painted, tell_line
from fewshot.errors import TaskError
from fewshot.folders.loader import find, hides, names, ships
from fewshot.task import load

__all__ = ["add_arguments", "origin", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def origin(name: str) -> str:
    """Tell where a task of one's own comes from, and whether it hides one that ships; nothing for those that ship."""
    folder, hidden = find(name), hides(name)
    if ships(folder):
        return ""
    return f"  ({folder}{', hides the task that ships' if hidden else ''})"


def run(args: argparse.Namespace) -> int:
    """List the tasks; a broken one is listed with its fault, and makes the exit code 1."""
    broken = 0
    for name in names():
        try:
            task = load(name)
        except TaskError as error:
            broken += 1
            tell_line(error, who=name)
            continue
        if args.json:
            about: dict[str, object] = {
                "name": name,
                "description": task.description,
                "version": task.version,
                "path": str(find(name)),
            }
            about |= {"ships": ships(find(name)), "hides": None if (hidden := hides(name)) is None else str(hidden)}
            print(json.dumps(about | {"inputs": list(task.inputs), "parameters": dict(task.parameters)}))
        else:
            print(f"{name:<18}{task.description}{painted(origin(name), 'dim', sys.stdout)}")
    return 1 if broken else 0
