"""`fewshot cache info|clear`: what is kept of earlier answers, and deleting it."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict

from fewshot.cli.terminal import put_found
from fewshot.models.cache import default_answers

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    about = "tell what is kept, or delete all answers"
    parser.add_argument("action", metavar="info|clear", choices=("info", "clear"), help=about)
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Tell about the kept answers, or delete them."""
    answers = default_answers()
    facts: dict[str, object]
    if args.action == "clear":
        facts = {"path": str(answers.path), "deleted": answers.clear()}
    else:
        facts = {**asdict(answers.info()), "path": str(answers.path)}
    told = "\n".join(f"{name:<12}{_told(name, value)}" for name, value in facts.items())
    put_found(facts, told, as_json=args.json)
    return 0


def _told(name: str, value: object) -> str:
    if name in ("oldest", "newest"):
        return "-" if value is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(float(str(value))))
    return f"{value / 1e6:,.1f} MB" if "bytes" in name and isinstance(value, int) else str(value)
