"""What every fault of a hostile service comes to, on each path: a table by family.

    python tests/benchmarks/faults.py SERVERS_FOLDER [--timeout 6]

SERVERS_FOLDER holds `chaos.py`, the fault server. Every fault happens once, to a text of its own, and then on every
attempt; at most eight calls are in flight. Requests and payments are as the server counted them. A fault that is final
for the account ends a bulk run, so in bulk each of these has a run of its own, and the seconds are the run's. The path
of the Batch API has steps and faults of its own: see `faults_batch.py`.

A cell says how the calls ended (`right`, or a ServiceError that is `transient`, `final` or of the `account`, or `no
value`: an OutputError with that reason), and the most requests / payments / seconds that one of them took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fewshot import Task, load
from fewshot.errors import FewshotError, OutputError, ServiceError
from fewshot.result import Result

AT_ONCE = 8
FAMILIES: dict[str, str] = {
    "refused for now: 429": "429_s 429_date 429_ms 429_none 429_garbage 429_negative",
    "in trouble: 408, 409, 5xx": "408 409 500 502 503 504 529 400_retry",
    "told not to come back soon": "429_long 429_no_retry",
    "the account is refused": "429_quota 401 401_leaky 403",
    "the request is refused": "404_model 400_context 400_invalid 400_content_filter 413 422 redirect",
    "broken before the work": "reset_before close_before reset_mid_headers",
    "broken after the work": "reset_after_work reset_after_headers truncated truncated_chunked gzip_corrupt",
    "silent, or a byte at a time": "hang hang_after_headers slowloris",
    "HTTP 200 without an answer": """invalid_json html_200 empty_body null_body error_200 wrong_schema no_choices
        null_choices missing_message deep_json dup_keys null_content""",
    "odd, but an answer": """slow drop_after unsolicited early_hints dup_headers gzip nan_json bad_charset usage_missing
        usage_zero other_model sse_cut sse_error""",
    "the label in odd words": """prose prose_long words fenced fenced_prose upper quoted period whitespace label_echo
        continues nul bidi zwsp bom nfd ansi lone_surrogate html""",
    "no label, or several": """empty_content multi_label wrong_label refusal_text csv_formula length length_empty
        tool_calls""",
    "the model declines": "refusal content_filter",
    "too much": "gzip_bomb huge",
}
"""Faults by what a caller would call them; those about JSON records and wrong answers are another matter. What is too
much keeps the server itself busy, so it comes when all else is done."""
RULES: dict[str, dict[str, Any]] = {"huge": {"mb": 34}, "gzip_bomb": {"mb": 33}, "slow": {"delay": 0.5}}


@dataclass(frozen=True)
class Case:
    """What one fault came to."""

    fault: str
    family: str
    ended: str
    seconds: float
    requests: int
    """Those with this text; asking again after an invalid answer is another text."""
    paid: int


def text_of(fault: str) -> str:
    return f"It came on Monday. case={fault};"


def ended(result: Result[Any] | FewshotError) -> str:
    """Say what the caller sees."""
    error = result if isinstance(result, FewshotError) else result.error
    if error is None:
        return "right" if isinstance(result, Result) and result.value == "neutral" else "WRONG VALUE"
    if isinstance(error, OutputError):
        return f"no value ({error.reason})"
    if isinstance(error, ServiceError):
        return "account" if error.account else "transient" if error.transient else "final"
    return type(error).__name__


def one_by_one(task: Task[Any], faults: list[str]) -> list[tuple[str, float]]:
    """Ask in threads, each a blocking call."""

    def one(fault: str) -> tuple[str, float]:
        started = time.monotonic()
        return ended(task.run(text_of(fault))), time.monotonic() - started

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(one, faults))


def awaited(task: Task[Any], faults: list[str]) -> list[tuple[str, float]]:
    """Await calls in one loop."""

    async def all_of_them() -> list[tuple[str, float]]:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(fault: str) -> tuple[str, float]:
            async with places:
                started = time.monotonic()
                return ended(await task.arun(text_of(fault))), time.monotonic() - started

        return await asyncio.gather(*map(one, faults))

    return asyncio.run(all_of_them())


def in_bulk(task: Task[Any], faults: list[str]) -> list[tuple[str, float]]:
    """Ask in one run for each family, and in one for each fault that ends a run; seconds are those of the run."""
    found: dict[str, tuple[str, float]] = {}
    for family, names in FAMILIES.items():
        members = [fault for fault in names.split() if fault in faults]
        for run in [[fault] for fault in members] if "account" in family else [members]:
            started, results = time.monotonic(), []
            try:
                results += [ended(r) for r in task.map([text_of(fault) for fault in run], concurrency=AT_ONCE)]
            except ServiceError as error:
                results.append(ended(error))
            took = time.monotonic() - started
            found |= {fault: (end, took) for fault, end in zip(run, results, strict=True)}
    return [found[fault] for fault in faults]


PATHS: dict[str, Callable[[Task[Any], list[str]], list[tuple[str, float]]]] = {
    "single": one_by_one,
    "async": awaited,
    "bulk": in_bulk,
}


def cases(chaos: Any, path: str, *, lasting: bool, timeout: float) -> list[Case]:
    """Play all faults on one path."""
    family_of = {fault: family for family, names in FAMILIES.items() for fault in names.split()}
    family_of = {fault: family for fault, family in family_of.items() if fault in chaos.FAULTS}
    limit = {} if lasting else {"max_attempt": 1}
    rules = [{"fault": fault, "text": f"case={fault};", **limit, **RULES.get(fault, {})} for fault in family_of]
    with chaos.spawn(seed=3, plan={"rules": rules}) as server:
        options: dict[str, Any] = {
            "base_url": server.base_url,
            "model": "chaos-1",
            "api_key": "sk-test",
            "timeout": timeout,
        }
        task = load("sentiment", k=2, scoring=False, **options)
        task.run("The first call loads what it needs.")
        heavy = FAMILIES["too much"].split()
        light = [fault for fault in family_of if fault not in heavy]
        ends = PATHS[path](task, light) + PATHS[path](task, heavy)
        books = {}
        for seen in server.stats(detail=True)["per_text"].values():
            named = re.search(r"case=(\w+);", seen["head"])
            if named:
                books[named[1]] = (seen["attempts"], seen["billed"])
    return [
        Case(fault, family_of[fault], *end, *books.get(fault, (0, 0)))
        for fault, end in zip(light + heavy, ends, strict=True)
    ]


def cell(found: list[Case]) -> str:
    """Sum up the cases of a family: how they ended, and the most requests, seconds and payments."""
    ends: dict[str, int] = {}
    for case in found:
        ends[case.ended] = ends.get(case.ended, 0) + 1
    said = ", ".join(f"{count} {end}" for end, count in sorted(ends.items(), key=lambda pair: -pair[1]))
    most = max(c.requests for c in found), max(c.paid for c in found), max(c.seconds for c in found)
    return f"{said} ({most[0]} / {most[1]} / {most[2]:.1f} s)"


def rows(found: dict[str, list[Case]]) -> Iterator[str]:
    """Draw a Markdown table."""
    yield "| fault | n | " + " | ".join(found) + " |"
    yield "|---|---|" + "---|" * len(found)
    for family in FAMILIES:
        mine = {path: [case for case in all_of_it if case.family == family] for path, all_of_it in found.items()}
        count = len(next(iter(mine.values())))
        if count:
            yield f"| {family} | {count} | " + " | ".join(map(cell, mine.values())) + " |"


def when_down(chaos: Any, timeout: float, count: int = 1000) -> str:
    """Say what a bulk run costs whose service is down from the first row on, or after half of its rows."""
    said = []
    for first in (0, count // 2):
        rule = {"fault": "503", "retry_after": 0.1, "text": "|".join(f"row {i};" for i in range(first, count))}
        with chaos.spawn(seed=3, plan={"rules": [rule]}) as server:
            options: dict[str, Any] = {"base_url": server.base_url, "model": "chaos-1", "timeout": timeout}
            task, started = load("sentiment", k=2, **options), time.monotonic()
            results: list[Any] = []
            try:
                results += task.map([f"It came. row {i};" for i in range(count)], concurrency=AT_ONCE)
                told = "no error"
            except ServiceError as error:
                told = str(error)
            took, stats = time.monotonic() - started, server.stats()
        given = sum(r.error is None for r in results)
        said.append(
            f"down from row {first:,} of {count:,} on: {given:,} answers given, {stats['requests'] - first:,} requests "
            f"in vain, {took:.1f} s; the caller sees: {told[:200]}"
        )
    return "\n".join(said)


def main() -> int:
    """Play and print; 1 when a value was wrong or a call took longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers")
    parser.add_argument("--timeout", type=float, default=6.0)
    args = parser.parse_args()
    sys.path.insert(0, args.servers)
    chaos: Any = importlib.import_module("chaos")
    logging.disable(logging.WARNING)
    wrong: list[Case] = []
    for lasting in (False, True):
        found = {path: cases(chaos, path, lasting=lasting, timeout=args.timeout) for path in PATHS}
        print(f"\n## The fault {'lasts' if lasting else 'happens once'} (timeout={args.timeout:g})\n")
        print("\n".join(rows(found)), flush=True)
        singles = [case for path in ("single", "async") for case in found[path]]
        wrong += [case for all_of_it in found.values() for case in all_of_it if "WRONG" in case.ended]
        wrong += [case for case in singles if case.seconds > args.timeout * 1.5 + 1]
    print("\n## The service is down\n")
    print(when_down(chaos, args.timeout), flush=True)
    with contextlib.suppress(ValueError):
        sys.path.remove(args.servers)
    print(f"\n{len(wrong)} wrong values or late ends", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
