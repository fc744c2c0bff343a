"""`fewshot batch submit|status|fetch TASK --file F --out O`: a file through OpenAI's Batch API, at half the price."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fewshot._storage import write_atomic
from fewshot.bulk.batch_api.run import BatchRun, BatchStatus
from fewshot.cli.options import add_column_options, add_task_options, columns_of, task_of
from fewshot.cli.terminal import shown
from fewshot.data.columns import read_rows
from fewshot.data.tables import check_out, is_table, write_table
from fewshot.errors import ConfigError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("submit", "status", "fetch"), help="send off, look, or read what has come")
    add_task_options(parser)
    parser.add_argument("--file", metavar="F", help="rows as for `fewshot run`; needed once, to submit")
    add_column_options(parser)
    parser.add_argument("--out", required=True, metavar="O", help="results as for `run`; the state is kept in O.batch")
    parser.add_argument("--wait", action="store_true", help="fetch: do not stop before the results are there")
    parser.add_argument("--live", action="store_true", help="fetch: ask the rest live, at the full price")
    parser.add_argument("--retry-failed", action="store_true", help="submit: ask again what ended with an error")
    parser.add_argument("--json", action="store_true", help="the status as one JSON object on standard output")


def run(args: argparse.Namespace) -> int:
    """Do one step of a batch run; the exit code is 1 when rows failed or the run is not finished."""
    check_out(Path(args.out))
    task = task_of(args)
    batch: BatchRun[Any] = BatchRun(task, f"{args.out}.batch")
    if args.action == "submit":
        rows = read_rows(Path(args.file), columns_of(task, args), encoding=args.encoding) if args.file else None
        status = batch.submit(rows, retry_failed=args.retry_failed)
    elif args.action == "status":
        status = batch.status()
    else:
        status = batch.fetch(wait=args.wait, live=args.live)
    failed = _write(batch, Path(args.out)) if args.action == "fetch" and status.finished else 0
    _tell(status, failed, args)
    return 1 if failed or (args.action == "fetch" and not status.finished) else 0


def _write(batch: BatchRun[Any], out: Path) -> int:
    """Write the results beside their place, then put them there; gives how many rows failed."""
    if is_table(out):
        write_table(out, lambda: (line for line, _ in batch.lines()))
        return sum(is_error for _, is_error in batch.lines())
    failed = 0
    try:
        with write_atomic(out) as scratch, scratch.open("wb") as file:
            for line, is_error in batch.lines():
                failed += is_error
                file.write(line + b"\n")
    except OSError as error:
        raise ConfigError(f"the results cannot be written to {out}: {error.strerror}; fetch again") from error
    return failed


def _tell(status: BatchStatus, failed: int, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(status.to_dict() | {"failed_rows": failed}))
        return
    print(shown(status), file=sys.stderr)
    if args.action == "fetch" and status.finished:
        print(shown(f"{status.rows - failed:,} rows answered, {failed:,} failed: {args.out}"), file=sys.stderr)
    elif not status.finished:
        print(shown(f"go on with: fewshot batch fetch {args.task} --out {args.out}"), file=sys.stderr)
