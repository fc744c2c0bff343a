"""`fewshot check [TASK …]`: everything that is wrong with a task folder, each with file, line and fix.

With `--fit` a task's fit is measured again instead: on labelled rows that are asked, or on recorded answers.
"""

from __future__ import annotations

import argparse
import sys

from fewshot import _background_loop as loop
from fewshot.authoring.check import Checkup, check
from fewshot.cli.options import add_encoding_option, add_settings, given
from fewshot.cli.terminal import put, put_found, tell_line
from fewshot.errors import InputError, TaskError
from fewshot.evaluation.fit_check import check_fit
from fewshot.folders.loader import names
from fewshot.task import load

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="names or paths of folders; by default all tasks")
    parser.add_argument("--against", metavar="F", help="test rows that must not stand among the examples")
    parser.add_argument("--strict", action="store_true", help="let warnings fail too")
    parser.add_argument("--json", action="store_true", help="one JSON object a task")
    fit = parser.add_argument_group("whether a fit has drifted (exit code 1)")
    fit.add_argument("--fit", metavar="F", help="labelled rows to ask, or a report of `fewshot eval --out`")
    fit.add_argument("--answers", metavar="R", help="results of `fewshot run --json` for these rows: nothing is asked")
    fit.add_argument("--target", metavar="COLUMN", help="the column of the answer; by default output, label, …")
    add_encoding_option(fit)
    add_settings(fit, ("model", "base_url"))


def run(args: argparse.Namespace) -> int:
    """Print the findings; the exit code is 1 when there are errors or a fit has drifted, 2 for no task."""
    if args.fit:
        return max(_check_fit(name, args) for name in args.tasks or names())
    if args.answers or args.target:
        raise InputError("--answers and --target are about the rows of --fit: give those too")
    code = 0
    for name in args.tasks or names():
        try:
            found = check(name, against=args.against)
        except TaskError as error:  # there is no such task: the others are looked at nevertheless
            tell_line(error, style="red")
            code = 2
            continue
        code = max(code, int(not found.ok or (args.strict and bool(found.findings))))
        if args.json or found.findings:
            put_found(found.to_dict(), "\n".join(map(str, found.findings)), as_json=args.json)
        if not args.json:
            put(_summary(found, whole=len(args.tasks) == 1), sys.stderr)
    return code


def _check_fit(name: str, args: argparse.Namespace) -> int:
    """Measure the fit of a task again, and print what came of it."""
    task = load(name, **given(args, ("model", "base_url")))
    found = loop.run(check_fit(task, args.fit, answers=args.answers, target=args.target, encoding=args.encoding))
    left_out = f", {found.left_out} others left out" * bool(found.left_out)
    lines = [f"{task.name}: fitted on {found.fit}; measured on {found.rows} rows{left_out}", *map(str, found.checks)]
    lines += [f"does not hold for {rows} rows: {reason}" for reason, rows in found.off.items()]
    lines += ["it has drifted: calibrate again on rows like those" if found.drifted else "no drift is seen"]
    put_found({"name": task.name, **found.to_dict()}, "\n  ".join(lines), as_json=args.json)
    return int(found.drifted)


def _summary(found: Checkup, *, whole: bool) -> str:
    """Say how the task stands; where it is looked at alone, how long its prompts are too."""
    errors = sum(finding.severity == "error" for finding in found.findings)
    warnings = len(found.findings) - errors
    verdict = "ok" if not found.findings else f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    lines = [f"{found.name}: {verdict}"]
    if found.examples:
        of_labels = ", ".join(f"{count} {label}" for label, count in found.labels.items())
        line, tokens = found.longest or (0, 0)
        longest = f"; the longest has about {tokens} tokens (line {line})" if line else ""
        lines.append(f"  {_count(found.examples, 'example')}{of_labels and f' ({of_labels})'}{longest}")
    if found.tokens:
        told = sorted(k for k in found.tokens if k in (0, found.k, max(found.tokens)))
        by_k = ", ".join(f"{found.tokens[k]:,} with {k}{' (as set)' * (k == found.k)}" for k in told)
        lines.append(f"  tokens before the question, about, by shots: {by_k}")
    return "\n".join(lines if whole else lines[:1])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
