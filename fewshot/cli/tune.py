"""`fewshot tune TASK --data F`: search for a better prompt within a budget, and measure it on rows kept back."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

from fewshot.cli.eval import add_labelled_options, labelled, tell
from fewshot.cli.options import add_task_options
from fewshot.cli.terminal import put, tell_line
from fewshot.evaluation.calibrate import kept_calibration
from fewshot.folders.writer import check_writable
from fewshot.tuning.result import Tuned

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_options(parser, several_k=True)
    add_labelled_options(parser)
    parser.add_argument("--budget", type=int, default=1000, metavar="N", help="requests that may be sent, all together")
    parser.add_argument("--forms", metavar="A,B", help="forms to try: chat,text")
    parser.add_argument("--draws", type=int, default=3, metavar="N", help="draws of shots for each number of them")
    parser.add_argument("--no-calibrate", action="store_true", help="judge the answers as they come")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="decides the split and what is drawn and tried"
    )
    parser.add_argument("--concurrency", type=int, metavar="N", help="how many rows are asked at a time")
    parser.add_argument("--write", action="store_true", help="write what was chosen into the task's folder")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(args: argparse.Namespace) -> int:
    """Search, print what was found, and write it where that is wanted."""
    task, rows, _ = labelled(args)
    if args.write:
        check_writable(task)
    tuned = task.tune(
        rows,
        budget=args.budget,
        k=args.counts,
        forms=_listed(args.forms),
        draws=args.draws,
        calibrate=not args.no_calibrate,
        seed=args.seed,
        concurrency=args.concurrency,
        progress=tell,
    )
    if not args.json:
        put(tuned)
    written: list[str] = []
    try:  # what was paid for is shown even where it cannot be written
        written += _written(tuned) if args.write else []
    finally:
        if args.json:
            print(json.dumps({**tuned.to_dict(), "written": written}, ensure_ascii=False, default=str))
    if not args.write and tuned.difference.difference >= 0 and (tuned.changed or tuned.task.fitted is not None):
        what = "the task's folder gets what was chosen" if tuned.changed else "the calibration is kept"
        tell_line(f"nothing was written; with --write {what}")
    errors = Counter(dict(tuned.before.errors)) + Counter(dict(tuned.after.errors))
    for error, count in errors.most_common(3):
        tell_line(f"{count} answers on the rows held out failed: {error}")
    return 1 if errors else 0


def _written(tuned: Tuned) -> list[str]:
    """Write the prompt and keep its calibration, unless the start did better; gives the files that have changed."""
    if tuned.difference.difference < 0:
        tell_line("nothing was written: on the rows held out the start did better")
        return []
    if tuned.task.fitted is not None:
        kept_calibration(tuned.task)
        tell_line("the calibration is kept for this prompt and model, as `fewshot calibrate` does")
    if not tuned.changed:
        tell_line("the folder is as it was: no prompt was better than its own")
        return []
    done = tuned.write()
    for path in done.files:
        tell_line(f"wrote {path}")
    for path in done.copies:
        tell_line(f"what stood there before is in {path}")
    return [str(path) for path in done.files]


def _listed(text: str | None) -> Any:
    """Read `a,b`; what is in it is checked by the search."""
    return None if text is None else [part.strip() for part in text.split(",")]
