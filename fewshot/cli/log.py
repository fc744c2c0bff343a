"""`fewshot log`: what was asked last and what was answered, of the answers that are kept (`-o cache=true`)."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from fewshot._checks import check_count
from fewshot.cli.terminal import put_found, tell_line
from fewshot.models.cache import default_answers
from fewshot.types import Completion

__all__ = ["add_arguments", "run"]

_WIDTH = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="*", metavar="TEXT", help="only requests or answers that hold all of these words")
    parser.add_argument("-n", "--count", type=int, default=20, metavar="N", help="show at most so many")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with the whole request")


def run(args: argparse.Namespace) -> int:
    """Print what was asked, the newest last."""
    check_count("--count", args.count, least=1)
    answers = default_answers()
    words = [word.casefold() for word in args.text]
    most = args.count if not words else answers.info().entries
    found = []
    for made, content, completion in answers.latest(most):
        request = json.loads(content)["body"]
        if all(word in f"{_asked(request)} {_said(completion)}".casefold() for word in words):
            found.append((made, request, completion))
    for made, request, completion in reversed(found[: args.count]):
        about = {"made": made, "request": request, "answer": completion.text, "id": completion.id}
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(made))
        told = f"{when}  {completion.model or request['model']}  {_cut(_asked(request))} -> {_cut(_said(completion))}"
        put_found(about, told, as_json=args.json)
    if not found:
        tell_line("nothing of the kind is kept: answers are kept with `-o cache=true`, or cache=True in a call")
    return 0


def _asked(request: dict[str, Any]) -> str:
    """Give the question itself: the last message, or the end of the text."""
    if "messages" in request:
        return str(request["messages"][-1][1])
    if "prompt" in request:
        return str(request["prompt"]).strip().rpartition("\n\n")[2]
    return str(request["decide"]["input"][-1]["content"])


def _said(completion: Completion) -> str:
    if not completion.text and completion.probabilities:
        return json.dumps(dict(completion.probabilities))
    return completion.text


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
