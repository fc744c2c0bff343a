"""`fewshot share TASK --data F --labelled F`: how frequent each label is in a corpus, with intervals."""

from __future__ import annotations

import argparse

from fewshot._options import table
from fewshot.bulk.plan import Plan
from fewshot.cli.options import add_column_options, add_settings, add_task_options, check_ready, given, renamed, task_of
from fewshot.cli.terminal import put_found

__all__ = ["add_arguments", "run"]

_BULK = ("concurrency", "rpm", "tpm", "max_errors", "max_cost", "out")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_options(parser)
    parser.add_argument(
        "--data", required=True, metavar="F", help="the corpus: JSONL, CSV, Parquet, Excel, …, or lines"
    )
    parser.add_argument("--labelled", metavar="F", help="rows of it with their labels, chosen at random")
    parser.add_argument("--target", metavar="COLUMN", help="the column of the label; by default output, label, …")
    parser.add_argument("--chance", metavar="COLUMN", help="each labelled row's probability of being chosen")
    parser.add_argument(
        "--by", metavar="COLUMN", help="a column of groups, or of times: shares in each, and differences"
    )
    add_column_options(parser)
    add_settings(parser, _BULK, table(Plan))
    parser.add_argument("--retry-failed", action="store_true", help="with --out: ask the rows again that have failed")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Estimate and print; the exit code is 1 when rows failed."""
    task = task_of(args)
    check_ready(task, args)
    columns = renamed(task, args)
    found = task.share(
        args.data,
        args.labelled,
        target=columns.pop("output", args.target),
        chance=args.chance,
        by=args.by,
        columns=columns,
        encoding=args.encoding,
        retry_failed=args.retry_failed,
        progress=not args.quiet,
        **given(args, _BULK, table(Plan)),
    )
    put_found(found.to_dict(), found, as_json=args.json)
    return 1 if found.failed else 0
