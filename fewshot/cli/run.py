"""`fewshot run TASK [INPUT…]`: values for inputs given as words, in a file or on standard input."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot._options import table
from fewshot.bulk.map import amap
from fewshot.bulk.plan import Plan
from fewshot.bulk.progress import Display, Tally, summary
from fewshot.bulk.records import json_bytes
from fewshot.calibration.running import Lean, arecalibrated
from fewshot.cli.options import (
    add_column_options,
    add_settings,
    add_task_options,
    check_ready,
    columns_of,
    given,
    shares,
    task_of,
)
from fewshot.cli.terminal import painted, put, put_found, shown, tell_line
from fewshot.data.columns import Stream, digest_of, is_stream, read_rows
from fewshot.errors import ConfigError, InputError
from fewshot.models.connection import connect
from fewshot.result import Result, as_text, said
from fewshot.task import Task

__all__ = ["add_arguments", "run"]


_FILES_OF_ROWS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt", ".xlsx")
_LONGEST_NAME = 255
_EVEN = (
    "where the labels are about even among them, --recalibrate corrects that; where they are not, give their --prior "
    "too, or labelled rows to `fewshot calibrate`"
)
_BULK = ("concurrency", "rpm", "tpm", "max_errors", "max_cost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_options(parser)
    parser.add_argument(
        "input", nargs="*", default=[], metavar="INPUT", help="inputs; for a task with several, one after the other"
    )
    parser.add_argument(
        "--file", metavar="F", help="JSONL, CSV, Parquet, Excel, … or lines of text; - for standard input"
    )
    add_column_options(parser)
    parser.add_argument("--out", metavar="O", help="keep results here: JSON lines, or .csv and .parquet at the end")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with everything about the call")
    parser.add_argument(
        "--concise", action="store_true", help="one short JSON object a line: value, confidence, and what went wrong"
    )
    add_settings(parser, _BULK, table(Plan))
    parser.add_argument("--cache", action="store_true", help="keep answers, and give them again for the same request")
    parser.add_argument(
        "--recalibrate",
        action="store_true",
        help="instead of the task's own calibration: correct each row by the mean of the rows so far",
    )
    parser.add_argument("--prior", metavar="L=P,L=P", help="how frequent each label is, for --recalibrate")
    parser.add_argument("--dry-run", action="store_true", help="tell requests, tokens and money; send nothing")
    parser.add_argument("--retry-failed", action="store_true", help="with --out: ask the rows again that have failed")
    parser.add_argument("--fresh", action="store_true", help="with --out: forget what is there and start over")
    parser.add_argument("--quiet", action="store_true", help="no progress and no summary")


def run(args: argparse.Namespace) -> int:
    """Print or keep a result for every input."""
    if args.json and args.concise:
        raise ConfigError("--json gives everything about a call and --concise the least: give one of them")
    if not args.out and (args.retry_failed or args.fresh):
        raise ConfigError("--retry-failed and --fresh are about a file of results: name it with --out")
    if args.out and args.recalibrate:
        message = "a file of results keeps each row as it came, and --recalibrate corrects it by the rows before it"
        raise ConfigError(f"{message}: run without --out, and send --json to a file")
    if args.prior and not args.recalibrate:
        raise ConfigError("--prior says how frequent labels are among the rows that --recalibrate corrects: give both")
    task = task_of(args)
    check_ready(task, args)
    if args.recalibrate:
        if task.output.kind != "labels":
            raise ConfigError(
                f"{task.name} does not give one label, and --recalibrate corrects its probabilities: leave it out"
            )
        task = task.using(calibrate=False)
    if args.cache:
        task = task.using(cache=True)
    rows, options = _rows(task, args), given(args, (*_BULK, "out"), table(Plan))
    if args.dry_run:
        return _dry_run(task, rows, as_json=args.json)
    with contextlib.suppress(asyncio.CancelledError):
        return asyncio.run(_run(task, rows, options, args))
    return 130


@dataclass(frozen=True)
class _Rows:
    """The rows of a run, and what is known of them beforehand."""

    rows: Iterable[Any] | Stream
    total: int | None
    digest: str
    """What tells this input from another, so that two are never mixed in one output."""
    few: bool = False
    """Given as words: the answer alone is wanted, without progress and summary."""


def _rows(task: Task[Any], args: argparse.Namespace) -> _Rows:
    """Find the rows: the words, the file, or standard input when something is piped into it."""
    if args.input and args.file:
        raise ConfigError("give inputs as words or in --file, not both")
    columns = columns_of(task, args)
    if args.input:
        _tell_of_files(args.input)
        rows = [dict(zip(task.inputs, args.input, strict=False))] if len(task.inputs) > 1 else list(args.input)
        if len(task.inputs) > 1:
            task._bind(*args.input)  # refuses too many
        digest = hashlib.sha256("\0".join(args.input).encode("utf-8", "replace")).hexdigest()[:12]
        return _Rows(rows, len(rows), f"words, sha256 {digest}", few=True)
    if args.file in (None, "-"):
        if args.file is None and sys.stdin.isatty():
            raise ConfigError(f"there is nothing to run {task.name} on: give an INPUT, --file F, or pipe lines in")
        return _Rows(
            Stream(sys.stdin.fileno(), columns, "standard input", encoding=args.encoding), None, "standard input"
        )
    path = Path(args.file)
    if path.is_dir():
        raise InputError(f"--file {args.file} is a folder: name a file in it", field="file")
    if is_stream(path):
        return _Rows(
            Stream(path.open("rb").detach().fileno(), columns, str(path), encoding=args.encoding), None, "a pipe"
        )
    if args.out and Path(args.out).resolve() == path.resolve():
        raise ConfigError(f"--out {args.out} is the input itself: name another file")
    digest, lines = digest_of(path)
    total = None if path.suffix.lower() in (".csv", ".tsv", ".parquet") else lines
    return _Rows(read_rows(path, columns, encoding=args.encoding), total, digest)


def _tell_of_files(words: list[str]) -> None:
    """Refuse the name of a file of rows that is given as a text: it would be answered as if it were one.

    Raises:
        InputError: names the file, and how to read it.
    """
    for word in words:
        if len(word) > _LONGEST_NAME or "\n" in word or Path(word).suffix.lower() not in _FILES_OF_ROWS:
            continue
        if Path(word).is_file():
            raise InputError(f"{word} is a file, and an INPUT is the text itself: read the file with --file {word}")
        tell_line(f"{word} is taken as the text itself; there is no file of that name", style="yellow")


async def _run(task: Task[Any], rows: _Rows, options: dict[str, Any], args: argparse.Namespace) -> int:
    """Run to the end, or to whatever stops it; what is saved by then is told."""
    display = None if args.quiet or rows.few else Display(stays=False)
    tally = Tally(total=rows.total)

    def watch(now: Tally) -> None:
        nonlocal tally
        tally = now
        if display is not None:
            display(now)

    facts, again = {"input": rows.digest}, {"resume": not args.fresh, "retry_failed": args.retry_failed}
    options |= {**again, "facts": facts, "total": rows.total, "progress": watch}
    write, lean = _writer(args, few=rows.few), Lean()
    stopped = False
    try:
        with _ended_by_signals():
            async with contextlib.aclosing(amap(task, rows.rows, **options)) as results:
                corrected: dict[str, Any] = {"prior": shares(args.prior, "--prior")}
                corrected["min_confidence"] = task.settings.min_confidence
                async for result in arecalibrated(results, **corrected) if args.recalibrate else results:
                    write(result)
                    lean.add(result)
    except BaseException as error:
        stopped = not isinstance(error, ConfigError | InputError | BrokenPipeError)
        raise
    finally:
        if display is not None:
            display.close()
        if (tally.done or stopped) and not (rows.few or args.quiet):
            put(summary(tally), sys.stderr)
        if stopped and not rows.few:
            _tell_how_to_go_on(args)
    if lean.told and not (rows.few or args.quiet):
        tell_line(f"{lean.told}: {_EVEN}", style="yellow")
    if not tally.done:
        nothing = f"{args.file or 'standard input'} holds no rows, so nothing was asked"
        if args.file not in (None, "-"):
            raise InputError(f"{nothing}: give a file with rows, below its header if it has one")
        tell_line(nothing, style="yellow")
    return 1 if tally.failed else 0


def _writer(args: argparse.Namespace, *, few: bool) -> Callable[[Result[Any]], None]:
    """Give what becomes of each result: a line of output, or nothing where --out keeps it; failures are told anyway."""
    kept, alone = bool(args.out), few and len(args.input) == 1

    def write(result: Result[Any]) -> None:
        if result.error is not None and not (kept and not args.json):
            tell_line(result.error, style="red")
        for warning in result.warnings if few else ():  # of many rows the summary tells
            tell_line(warning, style="yellow")
        if kept:
            return
        if args.json or args.concise:
            whole = result.to_dict() | {"inputs": dict(result.inputs)}
            line = json_bytes(whole if args.json else _concise(result))
        else:
            line = _plain(result, alone=alone) + _beside(result)
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    return write


def _concise(result: Result[Any]) -> dict[str, Any]:
    """Give what most readers want of a result; what is not so is left out."""
    about = result.to_dict()
    error = about["error"] and about["error"]["message"]
    facts = {"confidence": result.confidence, "abstained": result.abstained, "error": error}
    return {"value": said(result)} | {k: v for k, v in (facts | {"warnings": about["warnings"]}).items() if v}


def _beside(result: Result[Any]) -> bytes:
    """Give the confidence that stands beside a value on a terminal; what is piped on holds values alone."""
    if not sys.stdout.isatty() or result.confidence is None:
        return b""
    shown = f"  {result.confidence:.2f}" if result.value is not None else f"(abstained, {result.confidence:.2f})"
    return painted(shown, "dim", sys.stdout).encode()


def _plain(result: Result[Any], *, alone: bool) -> bytes:
    """Write the value itself; among others on a line of its own, so that lines go with inputs."""
    value = said(result)
    if value is None:
        return b""
    text = as_text(value)
    return (text if alone else text.replace("\r", "\\r").replace("\n", "\\n")).encode("utf-8", "replace")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, and a terminal that goes away, end the run as Ctrl-C does, where the system has them."""
    running, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - called by one
    ending = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    try:
        for each in ending:
            running.add_signal_handler(each, task.cancel)
    except (NotImplementedError, RuntimeError):  # Windows, or not the main thread
        yield
        return
    try:
        yield
    finally:
        for each in ending:
            running.remove_signal_handler(each)


def _tell_how_to_go_on(args: argparse.Namespace) -> None:
    if not args.out:
        print("fewshot: with --out FILE a run that was stopped can be resumed", file=sys.stderr)
        return
    words = [word for word in args.words if word != "--fresh"]
    print(shown(f"fewshot: go on with: {shlex.join(['fewshot', *words])}"), file=sys.stderr)


def _dry_run(task: Task[Any], rows: _Rows, *, as_json: bool) -> int:
    """Tell what the run would take."""
    from fewshot import _background_loop as loop
    from fewshot.bulk.estimate import estimate

    if isinstance(rows.rows, Stream):
        raise ConfigError("--dry-run reads the rows, which standard input gives only once: name a --file")
    found = estimate(task, rows.rows, loop.run(connect(task.settings)))
    put_found(found.to_dict(), found, as_json=as_json)
    return 0
