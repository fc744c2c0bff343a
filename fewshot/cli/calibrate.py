"""`fewshot calibrate TASK --data F`: fit the probabilities on labelled rows, and keep the fit for later calls."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from fewshot._storage import cache_dir
from fewshot.calibration.abstention import Threshold
from fewshot.cli.eval import add_labelled_options, labelled
from fewshot.cli.options import add_task_options, risk_of, shares, task_of
from fewshot.cli.terminal import shown
from fewshot.errors import InputError
from fewshot.evaluation.calibrate import kept_calibration
from fewshot.folders.writer import check_writable, write_fit

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_options(parser)
    add_labelled_options(parser, required=False)
    parser.add_argument(
        "--risk", metavar="R", help="find the --min-confidence that promises this error; FIELD=R,FIELD=R"
    )
    parser.add_argument("--average-risk", type=float, metavar="R", help="promise this error on average instead")
    parser.add_argument("--recall", metavar="L=R", help="promise to find this share of one label, as in spam=0.95")
    parser.add_argument("--precision", metavar="L=P", help="promise that this share of one label's answers is right")
    parser.add_argument("--unlabelled", metavar="F", help="inputs without an answer, beside few --data or none")
    parser.add_argument("--write", action="store_true", help="write fit.json into the task's folder")
    parser.add_argument("--confidence", type=float, default=0.95, metavar="C", help="how sure that promise is")
    parser.add_argument("--prior", metavar="L=P,L=P", help="how frequent each label will be, where the rows differ")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(args: argparse.Namespace) -> int:
    """Fit, keep and tell what was tried."""
    if not args.data and not args.unlabelled:
        raise InputError("there is nothing to calibrate on: give --data, or --unlabelled", field="data")
    task, rows, _ = labelled(args) if args.data else (task_of(args), None, None)
    if args.write:
        check_writable(task)
    cache_dir("calibrations")  # where no folder can be made, that is told before anything is asked
    task = task.calibrate(
        rows,
        prior=shares(args.prior, "--prior"),
        risk=risk_of(args.risk),
        average_risk=args.average_risk,
        recall=shares(args.recall, "--recall"),
        precision=shares(args.precision, "--precision"),
        unlabelled=args.unlabelled,
        encoding=args.encoding,
        confidence=args.confidence,
    )
    assert task.fitted is not None  # noqa: S101 - `calibrate` has just set it
    found = task.fitted.to_dict()
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        _show(found, task.fitted.threshold)
    if args.write:
        print(shown(f"fewshot: wrote {write_fit(task)}"), file=sys.stderr)
    elif task.fitted.calibration is not None:  # last: what was paid for is shown even where it cannot be kept
        kept_calibration(task)
        if not args.json:
            print("kept: calls of this task with the same prompt and model use it")
    return 0


def _show(found: dict[str, Any], threshold: Threshold | None) -> None:
    if "tried" in found:
        width = max(len(trial["name"]) for trial in found["tried"])
        print(shown(f"fitted on {found['rows']} rows, judged on rows left out of each fit:"))
        for trial in sorted(found["tried"], key=lambda trial: trial["nll"]):
            mark = "*" if trial["name"] == found["chosen"] else " "
            print(shown(f"{mark} {trial['name']:<{width}}  accuracy {trial['accuracy']:.3f}  nll {trial['nll']:.3f}"))
    if threshold is None:
        return
    if math.isinf(threshold.threshold):
        print(shown(f"no threshold: {threshold.reason}"), file=sys.stderr)
    elif threshold.promise == "recall":
        print(
            f"{threshold.label!r} from a probability of {threshold.threshold} is {threshold.coverage:.1%} of the rows; "
            f"{threshold.error:.1%} of those that have it were missed: {threshold.sentence}"
        )
    elif threshold.fields:
        print(f"{threshold.least} accepts {threshold.coverage:.1%} of the rows: {threshold.sentence}")
    else:
        of = "rows" if threshold.label is None else f"rows answered {threshold.label!r}"
        print(
            f"--min-confidence {threshold.threshold} accepts {threshold.coverage:.1%} of the {of}; "
            f"of these {threshold.error:.1%} were wrong: {threshold.sentence}"
        )
