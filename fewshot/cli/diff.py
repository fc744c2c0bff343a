"""`fewshot diff A B`: two files of results, row by row."""

from __future__ import annotations

import argparse
from pathlib import Path

from fewshot.cli.terminal import put_found
from fewshot.errors import InputError
from fewshot.evaluation.diff import Change, Difference, compared

__all__ = ["add_arguments", "run"]

_WIDTH = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="results of `fewshot run --json` or --out, the earlier ones")
    parser.add_argument("b", type=Path, metavar="B", help="the later ones")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="show at most so many changed rows; 0 for all"
    )
    parser.add_argument("--agree", type=float, metavar="P", help="fail (1) when fewer than this share of rows agree")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the differences; the exit code is 1 only for less agreement than was asked for."""
    if args.agree is not None and not 0 <= args.agree <= 1:
        raise InputError(f"--agree {args.agree} must be from 0 to 1", field="agree")
    found = compared(args.a, args.b)
    told = "\n".join(_told(found, str(args.a), str(args.b), args.limit or len(found.changes)))
    put_found(found.to_dict(), told, as_json=args.json)
    return 1 if args.agree is not None and not (found.agreement or 0) >= args.agree else 0


def _told(found: Difference, a: str, b: str, limit: int) -> list[str]:
    same_task = "the same task" if found.tasks[0] == found.tasks[1] else "the tasks differ"
    same_model = "the same model" if found.models[0] == found.models[1] else "the models differ"
    lines = [
        f"A {a}: {_names(found.tasks[0])}, {_names(found.models[0])}",
        f"B {b}: {_names(found.tasks[1])}, {_names(found.models[1])}",
        f"{same_task}, {same_model}",
        "no row is in both: 0 of 0"
        if found.agreement is None
        else f"{found.rows - len(found.changes)} of {found.rows} rows agree ({found.agreement:.1%})",
    ]
    if any(found.only):
        lines.append(f"left out: {found.only[0]} rows that only A has, {found.only[1]} that only B has")
    if found.confidence is not None:
        lines.append(
            f"mean confidence {found.confidence[0]:.3f} → {found.confidence[1]:.3f}; "
            f"{found.moved[1]} rows rose by more than 0.1, {found.moved[0]} fell"
        )
    lines += [_line(change) for change in found.changes[:limit]]
    if len(found.changes) > limit:
        lines.append(f"… and {len(found.changes) - limit} more; --limit 0 shows all")
    return lines


def _line(change: Change) -> str:
    before, after = ("" if p is None else f" {p:.2f}" for p in change.confidence)
    inputs = change.inputs if len(change.inputs) <= _WIDTH else change.inputs[: _WIDTH - 1] + "…"
    return f"  row {change.row}: {_cut(change.before)}{before} → {_cut(change.after)}{after}{inputs and f'   {inputs}'}"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "unknown"
