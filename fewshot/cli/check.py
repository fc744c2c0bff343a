"""`fewshot check [TASK …]`: everything that is wrong with a task folder, each with file, line and fix."""

from __future__ import annotations

import argparse
import json
import sys

from fewshot.authoring.check import Checkup, check
from fewshot.cli.terminal import shown, tell_line
from fewshot.errors import TaskError
from fewshot.folders.loader import names

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="names or paths of folders; by default all tasks")
    parser.add_argument("--against", metavar="F", help="test rows that must not stand among the examples")
    parser.add_argument("--strict", action="store_true", help="let warnings fail too")
    parser.add_argument("--json", action="store_true", help="one JSON object a task")


def run(args: argparse.Namespace) -> int:
    """Print the findings; the exit code is 1 when there are errors, and 2 for what is not a task."""
    code = 0
    for name in args.tasks or names():
        try:
            found = check(name, against=args.against)
        except TaskError as error:  # there is no such task: the others are looked at nevertheless
            tell_line(error, style="red")
            code = 2
            continue
        code = max(code, int(not found.ok or (args.strict and bool(found.findings))))
        if args.json:
            print(json.dumps(found.to_dict(), ensure_ascii=False))
            continue
        for finding in found.findings:
            print(shown(finding))
        print(shown(_summary(found)), file=sys.stderr)
    return code


def _summary(found: Checkup) -> str:
    """Say in a few lines how the task stands, and how long its prompts are."""
    errors = sum(finding.severity == "error" for finding in found.findings)
    warnings = len(found.findings) - errors
    verdict = "ok" if not found.findings else f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    lines = [f"{found.name}: {verdict}"]
    if found.examples:
        of_labels = ", ".join(f"{count} {label}" for label, count in found.labels.items())
        longest = (
            f"; the longest has about {found.longest[1]} tokens (line {found.longest[0]})" if found.longest else ""
        )
        lines.append(f"  {_count(found.examples, 'example')}{of_labels and f' ({of_labels})'}{longest}")
    if found.tokens:
        by_k = ", ".join(f"{tokens:,} with {k}{'*' * (k == found.k)}" for k, tokens in found.tokens.items())
        lines.append(f"  tokens before the question, about, by shots: {by_k}   * as set")
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
