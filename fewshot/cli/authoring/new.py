"""`fewshot new NAME`: a task folder that works at once; asks on a terminal what the flags do not say."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fewshot.authoring.check import TEST_FILE
from fewshot.authoring.scaffold import LANGUAGES, planned, write_folder
from fewshot.cli.options import add_encoding_option, assigned
from fewshot.cli.terminal import shown, tell_line
from fewshot.data.importing import examples_from
from fewshot.errors import InputError
from fewshot.folders.loader import hides

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="lower-case letters, digits, _ and -")
    answer = parser.add_mutually_exclusive_group()
    answer.add_argument("--labels", metavar="A,B,C", help="the answers to choose from")
    answer.add_argument("--output", choices=("text", "number"), help="any text, or a number")
    parser.add_argument("--inputs", metavar="A,B", help="what a call gives; by default text")
    parser.add_argument("--description", metavar="TEXT", help="what the task does, in a sentence; told to the model")
    parser.add_argument(
        "--from", dest="source", metavar="F", help="examples: JSONL, CSV, Parquet, Excel, …; or a label tool's export"
    )
    add_encoding_option(parser)
    parser.add_argument(
        "--map", action="append", default=[], metavar="NAME=COLUMN", help="the column of an input, or of the output"
    )
    parser.add_argument("--hold-out", type=int, default=0, metavar="N", help="keep N rows in test.jsonl to evaluate on")
    parser.add_argument("--lang", choices=LANGUAGES, help="by default the language of the description")
    parser.add_argument("--into", type=Path, default=Path("templates"), metavar="DIR", help="by default templates")


def run(args: argparse.Namespace) -> int:
    """Write the folder; its path goes to standard output."""
    labels, output, description, inputs = args.labels, args.output, args.description, args.inputs
    if not (labels or output or args.source) and sys.stdin.isatty():
        description = description or _ask("What should it do, in a sentence?")
        answers = _ask("Which answers are there? Labels separated by commas, or text, or number:")
        output, labels = (answers, None) if answers in ("text", "number") else (None, answers)
        inputs = inputs or _ask("What is given? [text]")
    columns = dict(assigned(args.map, "--map", "NAME=COLUMN")) or None
    rows = examples_from(args.source, columns, encoding=args.encoding) if args.source else ()
    if args.source and not rows:
        raise InputError(f"{args.source} holds no rows: give a file with some, below its header if it has one")
    plan = planned(
        args.name,
        output=_listed(labels) if labels else output,
        inputs=_listed(inputs or ""),
        description=description or "",
        rows=rows,
        hold_out=args.hold_out,
        language=args.lang,
    )
    folder = write_folder(plan, args.into)
    print(shown(folder))
    name = plan.name if args.into == Path("templates") else folder
    if args.into == Path("templates") and hides(plan.name):
        tell_line(plan.say("hides", name=name), style="yellow")
    if plan.output == "text" and args.source and output is None:
        tell_line(plan.say("as_texts"), style="yellow")
    todo = "" if plan.examples else plan.say("own_examples", file=folder / "examples.jsonl")
    tell_line(plan.say("next", todo=todo, name=name))
    if plan.tests:
        tell_line(plan.say("measure", name=name, file=folder / TEST_FILE))
    return 0


def _ask(question: str) -> str:
    try:
        return input(f"{question} ").strip()
    except EOFError as error:
        raise InputError("no answer; or say it with flags, see `fewshot new --help`") from error


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
