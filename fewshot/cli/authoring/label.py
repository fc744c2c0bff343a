"""`fewshot label TASK --data texts.csv`: label texts on a local page, by one key each; see what that buys."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import Any, get_args

from fewshot.authoring.lab.desk import Desk
from fewshot.authoring.lab.workbench import Workbench
from fewshot.authoring.labelling.label_tools import Tool
from fewshot.authoring.labelling.labelling import Labelling
from fewshot.authoring.labelling.records import agreement
from fewshot.cli.authoring.lab import serve
from fewshot.cli.options import add_column_options, add_task_options, check_ready, given, renamed, task_of
from fewshot.cli.terminal import put, put_found, shown, tell_line
from fewshot.errors import InputError
from fewshot.evaluation.intervals import Figure

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_options(parser)
    parser.add_argument("--data", required=True, metavar="F", help="texts to label: CSV, JSONL, Parquet, … or lines")
    add_column_options(parser)
    parser.add_argument("--annotator", default="", metavar="NAME", help="who labels; each has a file of labels")
    parser.add_argument(
        "--out", metavar="F", help="the file of labels, by default DATA.labels.NAME.jsonl beside --data"
    )
    parser.add_argument("--risk", type=float, default=0.1, metavar="R", help="share of errors to promise; 0.1")
    what = parser.add_argument_group("instead of the page").add_mutually_exclusive_group()
    what.add_argument("--figures", action="store_true", help="tell what the labels have bought")
    what.add_argument("--write", action="store_true", help="write examples, calibration.jsonl, test.jsonl and fit.json")
    what.add_argument("--agreement", nargs="*", metavar="F", help="compare people's labels; by default all of --data")
    what.add_argument("--export", choices=get_args(Tool), help="give texts, guesses and labels for a label tool")
    what.add_argument("--import", dest="source", metavar="F", help="take labels over from a label tool's export")
    parser.add_argument("--target", metavar="NAME", help="with --import: the column or question of the label")
    parser.add_argument("--as", dest="name", metavar="NAME", help="with --write: to a copy of the task, in templates/")
    parser.add_argument("--json", action="store_true", help="one JSON object, for --figures and --agreement")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="by default any that is free")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def run(args: argparse.Namespace) -> int:
    """Serve the page until it is interrupted, or do what was asked for instead."""
    if args.name and not args.write:
        raise InputError("--as names the copy that --write makes: give both", field="as")
    if not re.fullmatch(r"[\w-]{0,40}", args.annotator):
        message = f"--annotator {args.annotator!r} must be up to 40 letters, digits, _ and -: it names a file"
        raise InputError(message, field="annotator")
    data = Path(args.data)
    if args.agreement is not None:
        all_of_it = sorted(data.parent.glob(f"{escape(data.stem)}.labels*.jsonl"))
        return _agreement(args.agreement or all_of_it, as_json=args.json)
    name = f"{data.stem}.labels{args.annotator and f'.{args.annotator}'}.jsonl"
    task = task_of(args)
    check_ready(task, args)
    work = Labelling(
        task, data, args.out or data.with_name(name), annotator=args.annotator, risk=args.risk,
        columns=renamed(task, args), encoding=args.encoding,
    )  # fmt: skip
    if work.left_out:
        tell_line(f"{len(work.left_out)} rows are left out, the first: {work.left_out[0]}", style="yellow")
    if args.source:
        tell_line(f"{work.read(args.source, target=args.target)} labels were read from {args.source}")
    elif args.export:
        print(json.dumps(work.export(args.export), ensure_ascii=False, indent=1, default=str))
        if work.problem:
            tell_line(f"without all guesses: {work.problem}", style="yellow")
    elif args.write:
        for path in work.write(args.name):
            print(shown(path))
    elif args.figures:
        found = work.figures()
        put_found(found, "\n".join(_told(found)), as_json=args.json)
    else:
        options = given(args, ("model", "base_url"))
        return serve(Workbench(args.task, **options), args.port, browser=not args.no_browser, desk=Desk(work))
    return 0


def _agreement(paths: Sequence[str | Path], *, as_json: bool) -> int:
    found = agreement(*paths)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    for pair in found:
        one, other = pair["who"]
        unsure = f"; of {pair['cannot_tell']} others only one could tell" * bool(pair["cannot_tell"])
        put(f"{one} and {other}: {pair['rows']} texts labelled by both{unsure}")
        for name in ("agreement", "kappa"):
            what = "Cohen's kappa" if name == "kappa" else name
            told = Figure(**pair[name]) if pair[name] else "not known: there is nothing but one label, or no text"
            print(shown(f"  {what:<14}{told}"))
        for row in pair["differ"]:
            values = " / ".join(json.dumps(value, ensure_ascii=False) for value in row["values"])
            text = " | ".join(map(str, row["inputs"].values()))
            print(shown(f"  row {row['id']}: {values}   {text if len(text) <= 60 else text[:59] + '…'}"))
    return 0


def _told(found: dict[str, Any]) -> list[str]:
    parts = ", ".join(f"{count} {part}" for part, count in found["parts"].items())
    lines = [f"{found['labelled']} labelled ({parts}), {found['cannot_tell']} cannot be told, {found['skip']} put off"]
    if found["accuracy"]:
        promised = f"answered with at most {found['risk']:.1%} wrong"
        coverage = Figure(**found["coverage"]) if found["coverage"]["value"] else "none yet"
        lines += [f"{found['metric']}: {Figure(**found['accuracy'])}", f"{promised}: {coverage}"]
    if found["more"] is not None:
        lines.append(f"about {found['more']} labels more until half can be answered so")
    return [*lines, *found["told"]]
