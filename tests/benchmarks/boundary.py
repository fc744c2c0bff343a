"""Odd values for every argument of every public function, and for every environment variable that is read.

    nice -n 15 python tests/benchmarks/boundary.py [--n 100000] [--seed 0] [--targets map,env]

A call may give a value or one of our errors, and nothing else: a `TypeError` from inside tells nobody what to do. What
is odd is a value of another type, range, size or spelling; the names of the arguments are right.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import decimal
import enum
import fractions
import inspect
import io
import logging
import math
import os
import random
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from pydantic import BaseModel

import fewshot
from fewshot import FewshotError, ScriptedClient, Task
from fewshot._environment import VARIABLES
from fewshot.bulk.map import BulkOptions
from fewshot.bulk.plan import Plan
from fewshot.cli.main import COMMANDS, main
from fewshot.evaluation.calibrate import CalibrateOptions
from fewshot.evaluation.evaluate import EvaluateOptions
from fewshot.models.endpoint import _is_local
from fewshot.settings import Options
from fewshot.tuning.tune import TuneOptions

__all__ = ["TARGETS", "calls"]

LABELS = ["positive", "negative", "neutral"]
PAIRS = [("Good.", "positive"), ("Bad.", "negative"), ("Fine.", "neutral"), ("Lovely.", "positive")]
NOBODY = "http://127.0.0.1:9/v1"
USUAL = {"FEWSHOT_BASE_URL": NOBODY, "FEWSHOT_MODEL": "m", "OPENAI_API_KEY": "sk-test-0123456789"}
OTHERS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CACHE_HOME")
_LONGEST = 20.0
_MOST_RESULTS = 3


class Order(BaseModel):
    product: str


class Mood(enum.Enum):
    GLAD = "glad"
    SAD = 3


class Unequal:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")


def inside_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(3000):
        value = [value]
    return value


def odd(luck: random.Random, folder: Path) -> Any:
    """Give something that hardly any argument is meant to be."""
    return luck.choice(SIMPLE if luck.random() < 0.6 else [*MADE, lambda: folder, lambda: str(folder)])()


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


SIMPLE = [
    *map(_constant, (None, True, False, 0, 1, -1, 3, 10**9, 10**400, 0.0, 0.5, -0.5, 1e308, math.nan, math.inf, 3.5j)),
    *map(_constant, ("", " ", "x", "text", "positive", "\x00", "\ud800", "\x1b[31m\x07", "\u202e", "a\nb", "9" * 5000)),
    *map(_constant, ("{{ text", "{% block x %}", "..", "/", "/dev/null", "~", "http://[", "sk-test-0123456789", "-1")),
    *map(_constant, (b"", b"x", bytearray(b"x"), (), ("a",), ("a", "b"), ("a", "b", "c"), [None], ["a"], ["a", "a"])),
    *map(_constant, ([1, "1"], [[]], [{}], [b"x"], {}, {"a": None}, {"text": "x"}, {"text": 3}, {1: 2}, {"": ""})),
    *map(_constant, (frozenset("ab"), range(3), slice(1), ..., int, str, Order, Mood, Mood.GLAD, Exception("x"))),
]
MADE: list[Callable[[], Any]] = [
    object, Unequal, dict, list, set, inside_itself, deep, lambda: (lambda: None), lambda: (lambda _: 3),
    lambda: (lambda *_, **__: None), lambda: iter(["a"]), lambda: (x for x in ""), lambda: memoryview(b"x"),
    lambda: decimal.Decimal("NaN"), lambda: decimal.Decimal("0.5"), lambda: fractions.Fraction(1, 3),
    lambda: datetime.date(2020, 1, 1), lambda: Order(product="x"), lambda: Path("nowhere/at/all"), lambda: Path(),
    lambda: Path("x" * 300), lambda: Path("a\x00b"), lambda: os.fsdecode(b"\xff.jsonl"), io.StringIO, lambda: sys,
    lambda: ScriptedClient("positive"), lambda: ScriptedClient(*cast(list[str], [None] * 2)), lambda: fewshot.load,
    lambda: PAIRS, lambda: LABELS, lambda: dict(PAIRS), lambda: [("a", "b"), 3], lambda: [("a",)],
    lambda: asyncio.sleep,
]  # fmt: skip
TEXTS = [
    "", " ", "0", "1", "-1", "yes", "nan", "x", "local", "x.gguf", "hf:a/b", "http://", "http://[", "ftp://x", "//",
    "http://127.0.0.1:9/v1", "http://127.0.0.1:99999", "https://127.0.0.1:9", "http://127.0.0.1:/v1", "socks5://x:1",
    "foo://x", "a\nb", "x: y", "Host: x", "Content-Length: 3", "x: y\nz", ":", "\u00e9", "\ud800",
    "\x1b[31m", "9" * 5000,
    "/dev/null", "/dev/full", "/", "/nowhere/x", ".", "~", "sk-x", "a" * 70000, "[]", "{}", "plain", "direct",
    os.pathsep * 3,
]  # fmt: skip
"""What an environment variable, or a word of a command line, may be."""


@dataclass(frozen=True)
class Target:
    """Something public that is called, and how it is called well."""

    call: Callable[..., Any]
    given: Callable[[], dict[str, Any]]
    further: tuple[str, ...] = ()
    """Names of arguments that may be left out, which are tried too."""


def taken(value: Any) -> Any:
    """Use a value up: results are made as they are taken."""
    if inspect.iscoroutine(value):
        return asyncio.run(asyncio.wait_for(value, _LONGEST))
    if hasattr(value, "__anext__"):

        async def first() -> list[Any]:
            found = []
            async with contextlib.aclosing(value):
                async for item in value:
                    found.append(item)
                    if len(found) == _MOST_RESULTS:
                        break
            return found

        return asyncio.run(asyncio.wait_for(first(), _LONGEST))
    return list(islice(value, _MOST_RESULTS)) if inspect.isgenerator(value) else value


def client() -> ScriptedClient:
    return ScriptedClient(lambda _: "positive")


def task() -> Task[Any]:
    return Task.of("Sort.", LABELS, PAIRS, client=client(), calibrate=False)


SETTINGS = tuple(Options.__annotations__)


def _function(name: str, **more: Any) -> Target:
    return Target(getattr(fewshot, name), lambda: {"text": "x", "client": client(), **more}, SETTINGS)


def _method(name: str, further: tuple[str, ...], **given: Any) -> Target:
    return Target(lambda **options: getattr(task(), name)(**options), lambda: dict(given), further)


_OPTIONS_OF_MAP = (*BulkOptions.__annotations__, *(f.name for f in fields(Plan)), "columns", "encoding", *SETTINGS)
TARGETS: dict[str, Target] = {
    "classify_sentiment": _function("classify_sentiment"),
    "classify": _function("classify", labels=LABELS, examples=PAIRS),
    "translate": _function("translate", target="French", source="English", examples=[("a", "b")]),
    "summarize": _function("summarize", max_sentences=2),
    "detect_injection": _function("detect_injection"),
    "extract": _function("extract", schema=Order),
    "answer": Target(fewshot.answer, lambda: {"question": "x", "context": "y", "client": client()}, SETTINGS),
    "calculate": Target(fewshot.calculate, lambda: {"question": "x", "client": client()}, SETTINGS),
    "complete_pattern": Target(
        fewshot.complete_pattern, lambda: {"examples": PAIRS, "query": "x", "client": client()}, SETTINGS
    ),
    "run": Target(
        lambda **given: fewshot.classify.run(**given),
        lambda: {"text": "x", "labels": LABELS, "client": client()},
        SETTINGS,
    ),
    "of": Target(
        Task.of,
        lambda: {"template": "Sort.", "output": LABELS, "examples": PAIRS, "client": client()},
        ("name", "inputs", "parameters", *SETTINGS),
    ),
    "using": _method("using", ("examples", "output", *SETTINGS), k=2),
    "call": _method("__call__", SETTINGS, text="x"),
    "acall": _method("acall", SETTINGS, text="x"),
    "render": _method("render", ("form",), text="x"),
    "map": _method("map", _OPTIONS_OF_MAP, rows=["x", "y"]),
    "amap": _method("amap", _OPTIONS_OF_MAP, rows=["x", "y"]),
    "evaluate": _method("evaluate", tuple(EvaluateOptions.__annotations__), rows=PAIRS),
    "calibrate": _method("calibrate", tuple(CalibrateOptions.__annotations__), rows=PAIRS * 8),
    "tune": _method("tune", tuple(TuneOptions.__annotations__), rows=PAIRS * 4),
    "load": Target(fewshot.load, lambda: {"name": "sentiment"}, ("examples", "output", *SETTINGS)),
    "examples_from": Target(
        fewshot.examples_from, lambda: {"source": [{"text": "x", "output": "y"}]}, ("columns", "limit", "encoding")
    ),
    "estimate": Target(fewshot.estimate, lambda: {"task": task(), "rows": ["x"]}, ("connection",)),
    "batch": Target(
        lambda rows, retry_failed=False, **given: fewshot.BatchRun(**given).submit(rows, retry_failed=retry_failed),
        lambda: {"task": task(), "folder": "batch", "rows": ["x"]},
        ("max_requests", "max_bytes", "retry_failed"),
    ),
    "recalibrated": Target(
        fewshot.recalibrated, lambda: {"results": list(task().map(["x", "y"]))}, ("prior", "min_confidence")
    ),
    "settings": Target(fewshot.Settings, dict, SETTINGS),
    "client": Target(fewshot.OpenAIClient, dict, ("endpoint", "client", "max_retries", "timeout", "fast", "gate")),
}


def _known(target: Target, name: str) -> bool:
    """Tell whether an argument has this name: that one is unknown is Python's own TypeError."""
    parameters = inspect.signature(target.call).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def called(name: str, luck: random.Random, folder: Path) -> tuple[Callable[[], Any], str]:
    """Give a call with one to three odd arguments, and what it is."""
    target = TARGETS[name]
    given = target.given()
    names = [*given, *given, *(each for each in target.further if each not in given and _known(target, each))]
    changed = {luck.choice(names): odd(luck, folder) for _ in range(luck.choice((1, 1, 1, 2, 3)))} if names else {}
    slow = [key for key, value in changed.items() if key in ("rpm", "tpm") and isinstance(value, float | int)]
    changed = {key: value for key, value in changed.items() if key not in slow}  # which wait for minutes, rightly
    told = f"{name}({', '.join(f'{key}={_shown(value)}' for key, value in changed.items())})"
    return lambda: taken(target.call(**given | changed)), told


def in_environment(luck: random.Random) -> tuple[Callable[[], Any], str]:
    """Give a call under odd environment variables."""
    names = (*VARIABLES, *OTHERS)
    changed = {luck.choice(names): luck.choice(TEXTS) for _ in range(luck.choice((1, 1, 2, 3)))}
    changed = {name: text for name, text in changed.items() if "\ud800" not in text}  # which no environment holds

    def call() -> Any:
        with patch.dict(os.environ, changed):
            if _is_local(os.environ["FEWSHOT_MODEL"].strip()):
                return None  # which fetches or starts a model
            return fewshot.classify_sentiment("x", max_retries=0, timeout=2, cache=luck.random() < 0.3)

    return call, f"env {_shown(changed)}"


def on_the_command_line(luck: random.Random, folder: Path) -> tuple[Callable[[], Any], str]:
    """Give a command with odd words; what argparse refuses ends in SystemExit."""
    command = luck.choice([name for name in COMMANDS if name not in ("lab", "label", "completion", "try")])
    words = [command, luck.choice(["sentiment", "sentiment", *TEXTS])]
    options = ["--file", "--out", "--map", "--target", "--data", "--encoding", "-o", "--k", "--base-url", "--report"]
    for _ in range(luck.choice((0, 1, 2, 3))):
        words += [luck.choice(options), luck.choice([*TEXTS, str(folder), "k=2", "text=x", "timeout=1"])]
    words += luck.choice([[], ["x"], ["--json"], ["--dry-run"]])

    def call() -> Any:
        told, said = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace")
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            main(words)
        assert "Traceback" not in told.getvalue()
        assert not {"\x07", "\u202e"} & {*told.getvalue()}, told.getvalue()

    return call, f"fewshot {_shown(words)}"


class HangError(BaseException):
    """A call took too long; nothing may catch this by chance."""


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise HangError(f"more than {_LONGEST:g} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:100]
    except Exception:
        return f"a {type(value).__name__}"


def calls(n: int, seed: int, targets: list[str], folder: Path) -> Iterator[tuple[str, str, str]]:
    """Make so many calls; give the target of each, how it ended, and what it was."""
    luck = random.Random(seed)
    os.chdir(folder)
    os.environ.update(USUAL)  # no call fetches or starts a model
    for _ in range(n):
        name = luck.choice(targets)
        if name == "env":
            call, told = in_environment(luck)
        elif name == "cli":
            call, told = on_the_command_line(luck, folder)
        else:
            call, told = called(name, luck, folder)
        try:
            with _deadline():
                call()
        except FewshotError as error:
            came = type(error).__name__
        except (Exception, HangError) as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "/fewshot/" in f.filename]
            place = f"{frames[-1].filename.rpartition('/fewshot/')[2]}:{frames[-1].lineno}" if frames else "outside"
            came = f"RAW {type(error).__name__} at {place}: {error!s:.80}"
        else:
            came = "value"
        yield name, came, told


def run() -> int:
    """Print what came of them, and an example of each that is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", default=",".join((*TARGETS, "env", "cli")))
    args = parser.parse_args()
    logging.disable()
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"FEWSHOT_CACHE_DIR": f"{folder}/cache"}):
        for _, came, told in calls(args.n, args.seed, args.targets.split(","), Path(folder)):
            counts[came] += 1
            if first.setdefault(came, told) is told and came.startswith("RAW"):
                print(f"{came}\n    {told}", flush=True)
        os.chdir("/")
    raw = sum(count for came, count in counts.items() if came.startswith("RAW"))
    print(", ".join(f"{count:,} {came}" for came, count in counts.most_common() if not came.startswith("RAW")))
    print(f"{raw:,} of {args.n:,} calls ended in something that is no error of ours")
    return 1 if raw else 0


if __name__ == "__main__":
    sys.exit(run())
