"""`fewshot eval TASK --data F`: how right, how sure and how steady a task is, and what that costs."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewshot._progress import Bar
from fewshot._wording import tidy
from fewshot.cli.options import add_column_options, add_task_options, relabelled, renamed, risk_of, task_of
from fewshot.cli.terminal import put_found, tell_line
from fewshot.data.columns import Columns
from fewshot.data.examples import answer_at, answer_in
from fewshot.data.labelled import Labelled, gold_rows, in_file, read_labelled, target_of
from fewshot.errors import ConfigError, InputError
from fewshot.evaluation.report import Report, comparison_table
from fewshot.outputs.kinds import Labels
from fewshot.task import Task

__all__ = ["add_arguments", "add_labelled_options", "labelled", "run", "tell", "with_labels"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_options(parser, several_k=True)
    add_labelled_options(parser)
    parser.add_argument("--pool", metavar="F", help="labelled rows to take shots from; the others calibrate")
    parser.add_argument("--draws", type=int, default=1, metavar="N", help="draws of shots for each k")
    parser.add_argument("--limit", type=int, metavar="N", help="evaluate only the first N rows")
    parser.add_argument(
        "--risk", metavar="R", help="share of errors to promise among accepted answers; FIELD=R,FIELD=R"
    )
    parser.add_argument("--no-calibrate", action="store_true", help="take the probabilities as they come")
    parser.add_argument(
        "--calibration-rows",
        type=int,
        metavar="N",
        help="rows of the pool to fit on: 500, or 100 with several k or draws",
    )
    parser.add_argument("--consistency", action="store_true", help="ask again in other ways and count changed answers")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides which shots are drawn")
    parser.add_argument("--concurrency", type=int, metavar="N", help="how many rows are asked at a time")
    parser.add_argument("--against", metavar="R.json", help="compare with a report of the same rows, row by row")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument(
        "--report", metavar="R.html", help="write a page with plots that needs no network; .svg: the k-curve alone"
    )
    parser.add_argument("--out", metavar="R.json", help="write the report with all rows")


def add_labelled_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the labelled rows, and how to read them."""
    parser.add_argument(
        "--data",
        required=required,
        metavar="F",
        help="labelled rows: JSONL, CSV, Parquet, Excel, …; or a label tool's export",
    )
    parser.add_argument("--target", metavar="COLUMN", help="the column of the answer; by default output, label, …")
    add_column_options(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and print; the exit code is 1 when rows failed."""
    _check_places(args)
    before = Report.load(args.against) if args.against else None
    task, rows, pool = labelled(args)
    if before is not None:  # before anything is paid for
        before.check_rows(rows[: args.limit])
    report = task.evaluate(
        rows,
        k=args.counts,
        pool=pool,
        select=args.select,
        draws=args.draws,
        limit=args.limit,
        calibrate=not args.no_calibrate,
        calibration_rows=args.calibration_rows,
        risk=risk_of(args.risk),
        consistency=args.consistency,
        seed=args.seed,
        concurrency=args.concurrency,
        progress=tell,
    )
    command = re.sub("//[^/@ ]*@", "//", shlex.join(["fewshot", *args.words]))  # a password is nobody's to keep
    report = replace(report, made={**report.made, "command": command})
    comparison = {} if before is None else report.compare(before)
    compared = {"comparison": {name: c.to_dict() for name, c in comparison.items()} or None}
    told = f"{report}\n  difference to {args.against}\n{comparison_table(comparison)}" if comparison else report
    put_found(report.to_dict(predictions=False) | compared, told, as_json=args.json)
    for error, count in report.errors[:3]:
        tell_line(f"{count} rows failed: {error}")
    for path in filter(None, (args.report, args.out)):  # last: what was paid for is shown even where this fails
        report.save(path)
    return 1 if report.failed else 0


def _check_places(args: argparse.Namespace) -> None:
    """Refuse places that a report cannot be written to, before anything is asked.

    Raises:
        InputError: the name says another kind of file. ConfigError: the folder is not there, or cannot be written.
    """
    kind, other = (Path(name or "").suffix.lower() for name in (args.report, args.out))
    if args.report and kind not in (".html", ".htm", ".svg"):
        message = f"--report {args.report}: a report is a page (.html) or a picture (.svg); --out writes JSON"
        raise InputError(message, field="report")
    if other in (".html", ".htm", ".svg"):
        raise InputError(f"--out {args.out}: this is JSON with all rows; --report writes a page", field="out")
    if other not in ("", ".json"):
        raise InputError(f"--out {args.out}: a report is JSON with all rows: name it .json", field="out")
    if kind == ".svg" and len(args.counts or ()) < 2:
        raise InputError("a .svg is a curve over the number of shots: give several, such as --k 0,4,16", field="report")
    read = [Path(name) for name in (args.data, args.pool, args.examples, args.schema) if name]
    for path in filter(None, (args.report, args.out)):
        if any(Path(path).resolve() == given.resolve() for given in read):
            raise ConfigError(f"{path} is what is read: name another file for what is written")
        if path == "-":
            raise ConfigError("a report goes to a file: name one, or print it with --json")
        folder = Path(path).absolute().parent
        if not folder.is_dir():
            raise ConfigError(f"{path} cannot be written: there is no folder {Path(path).parent}, so make it first")
        if Path(path).is_dir():
            raise ConfigError(f"{path} cannot be written: it is a folder, so name a file in it")
        if Path(path).exists() and not Path(path).is_file():
            raise ConfigError(f"{path} cannot be written: it is not a regular file, so name one")
        if not os.access(path if Path(path).exists() else folder, os.W_OK):
            raise ConfigError(f"{path} cannot be written: change the permissions, or name another place")


def labelled(args: argparse.Namespace) -> tuple[Task[Any], list[Labelled], list[Labelled] | None]:
    """Give the task with the labels that are meant, the rows, and those of the pool if there is one.

    A file is read once, since it may be a pipe.

    Raises:
        InputError: the labels cannot be told apart, a row is not valid, or a file cannot be read.
    """
    task = task_of(args)
    columns = renamed(task, args)
    target = columns.pop("output", args.target)  # as `fewshot new` takes it
    Columns(task, columns)  # refuses names that the task does not have
    files = {path: gold_rows(path, encoding=args.encoding) for path in (args.data, getattr(args, "pool", None)) if path}
    for path, rows in files.items():
        if not rows.rows:
            raise InputError(f"{path}: there are no labelled rows")
    task = with_labels(task, args, {path: given.records for path, given in files.items()}, target)
    read = {path: read_labelled(task, rows, target=target, columns=columns) for path, rows in files.items()}
    return task, read[args.data], read.get(getattr(args, "pool", None))


def with_labels(
    task: Task[Any],
    args: argparse.Namespace,
    files: Mapping[str, Sequence[Mapping[str, Any]]],
    target: str | None = None,
) -> Task[Any]:
    """Give the task as it is, or for one without examples and named labels with the labels of the rows."""
    if args.labels or not isinstance(task.output, Labels):
        return task
    found: set[str] = set()
    for path, rows in files.items():
        with in_file(path):
            column = target or target_of(task.output, rows, [*task.inputs, *task.parameters])
            answers = [answer_in(task.output, answer_at(row, column)) for row in rows]
        found |= {tidy(str(answer)) for answer in answers if answer is not None}
    found.discard("")  # a row without a label is named where the rows are read
    if task.examples or not found - set(task.output.labels):
        return task
    tell_line(f"the labels are those of the data: {', '.join(sorted(found))}")
    return relabelled(task, sorted(found))


def tell(what: str, done: int, total: int) -> None:
    """Show progress: a bar for each thing that is done."""
    if what not in _bars:
        _bars[what] = Bar(what, stays=False)
    _bars[what].show(done, total)
    if done == total:
        _bars.pop(what).close()


_bars: dict[str, Bar] = {}
