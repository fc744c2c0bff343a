"""What every fault comes to on the path of the Batch API: on each of its steps, and in what a batch gives back.

    python tests/benchmarks/faults_batch.py [--timeout 6]

A small Batch API (`tests/batch_service.py`) stands behind real sockets. A run has eight rows, in two batches. A step
has its fault once, or at every request, and a call meets it. Then all is well, and the run goes on as its user would:
fetch; where that is refused, submit and fetch; where that does not help, submit with `retry_failed` and fetch.

A cell of the first two tables says how the call ended that met the fault (`through`, or a ServiceError that is
`transient`, `final` or of the `account`), and in brackets the most requests for one thing at that step, the most
payments for one row until the run was finished, and the seconds of that call.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from batch_service import BatchServer, Service
from fault_server import Fault, error

from fewshot import Task
from fewshot.bulk.batch_api.run import BatchRun
from fewshot.errors import ServiceError

AT_ONCE = 8
ROWS = [f"A {'good' if i % 2 else 'bad'} one, number {i}." for i in range(8)]
RIGHT = ["positive" if "good" in row else "negative" for row in ROWS]
STEPS = ("upload", "create", "find", "status", "download")
"""`find` looks for a batch when the reply to its creation was lost."""
FAMILIES: dict[str, str] = {
    "refused for now: 429": "429_s 429_ms 429_none 429_garbage 429_negative",
    "in trouble: 408, 409, 5xx": "408 409 500 502 503 504 529 400_retry",
    "told not to come back soon": "429_long 429_no_retry",
    "the account is refused": "429_quota 401 403",
    "the request is refused": "404_model 404_path 400 413 422 redirect",
    "broken before the work": "reset_before close_before reset_mid_headers not_http",
    "broken after the work": "reset_after_work reset_after_headers truncated truncated_chunked gzip_corrupt",
    "silent, or a byte at a time": "hang hang_after_headers slowloris",
    "HTTP 200 without an answer": "html_200 empty_body null_body error_200 no_choices deep_json invalid_json",
    "odd, but an answer": "drop_after unsolicited late_unsolicited early_hints gzip no_length",
    "too much": "gzip_bomb huge",
}
REPLIES: dict[str, Fault] = {
    "429_none": (429, {}, error("rate limit")),
    "429_negative": (429, {"retry-after": "-5"}, error("rate limit")),
    "504": (504, {"content-type": "text/html"}, b"<html>504</html>"),
    "529": (529, {}, error("overloaded")),
}
"""Those that the fault server has no name for."""
Lines = list[bytes]


def first(bent: Callable[[Lines], Lines]) -> Callable[[Service], None]:
    """Bend the output file of the first batch; the lines of a file are in another order in any case."""

    def bend(service: Service) -> None:
        rounds = iter([bent])
        service.bend = lambda lines: next(rounds, lambda same: same)(lines[::-1])

    return bend


def ends(status: str, problem: str = "invalid_json_line") -> Callable[[Service], None]:
    """Let the first batch end in this way."""

    def bend(service: Service) -> None:
        service.end, service.problem = lambda number: "completed" if number else status, problem

    return bend


def fails(status: int, *, always: bool = False) -> Callable[[Service], None]:
    """Let every second request fail, in its first batch or in each."""

    def bend(service: Service) -> None:
        right, failed = service.answer, (status, {"error": {"message": "no"}})
        service.answer = lambda text, times: failed if "good" in text and (always or not times) else right(text, times)

    return bend


OWN: dict[str, Callable[[Service], None]] = {
    "lines in another order": first(lambda lines: lines),
    "half of the requests failed with 500": fails(500),
    "half of the requests fail with 500, each time": fails(500, always=True),
    "half of the requests are refused with 400": fails(400),
    "it expired, half done": ends("expired"),
    "it was cancelled, half done": ends("cancelled"),
    "it failed the validation": ends("failed"),
    "it was beyond the account's limit": ends("failed", "token_limit_exceeded"),
    "completed, and no file is named": first(lambda lines: []),
    "the output file is gone": lambda service: setattr(service, "gone", ("batch_0-out",)),
    "the output file is empty": first(lambda lines: [b"\n"]),
    "the output file lacks its last three lines": first(lambda lines: lines[:-3]),
    "the output file is cut within a line": first(lambda lines: [*lines[:-1], lines[-1][:-30]]),
    "a line twice": first(lambda lines: [*lines, lines[0]]),
    "a line twice, with two answers": first(lambda lines: [*lines, lines[0].replace(b"positive", b"negative")]),
    "a custom_id that is not of this run": first(
        lambda lines: [lines[0].replace(b'"custom_id": "', b'"custom_id": "other-'), *lines]
    ),
    "an error body in a line with 200": first(lambda lines: [lines[0].replace(b'"choices"', b'"error"'), *lines[1:]]),
    "lines that are not JSON, null, lists": first(lambda lines: [b"null\n", b"[]\n", b"\xff\n", b"<html>\n", *lines]),
}
"""What is the Batch API's own."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one fault came to."""

    fault: str
    ended: str
    """How the call that met it ended."""
    seconds: float
    """Those of that call."""
    requests: int
    """The most for one thing at that step."""
    things: int
    """What was asked for at that step: each has the timeout for itself."""
    went_on: str
    """The calls that finished the run then."""
    right: int
    failed: int
    """Rows with an error in the end."""
    wrong: int
    """Rows with a value that is not theirs."""
    lost: int
    paid: int
    """The most for one row."""
    twice: int
    """Rows that were asked more than once."""
    batches: int


def played(fault: str, timeout: float, *, step: str = "", times: int = 1, bend: Any = None) -> Case:
    """Meet one fault, then go on until every row has its result."""
    service = Service()
    if bend:
        bend(service)
    with BatchServer(service) as server, tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"base_url": server.base_url, "model": "m", "api_key": "sk-test", "timeout": timeout}
        task = Task.of("Which?", ["positive", "negative"], scoring=False, **options)
        run = BatchRun(task, Path(folder) / "run", max_requests=4 if step else 8)
        submits = step in ("upload", "create", "find")
        if not submits:
            run.submit(ROWS)
        if step == "find":
            server.trouble("create", "reset_after_work")
        if step:
            server.trouble(step, REPLIES.get(fault, fault), times)
        started = time.monotonic()
        ended = called((lambda: run.submit(ROWS)) if submits else (lambda: run.fetch(wait=True, poll=0)))
        seconds = time.monotonic() - started
        requests = [count for (at, _), count in server.tries.items() if at == step] or [0]
        server.calm()
        went_on = to_the_end(run)
        results = list(run.results())
    values = [result.value for result in results]
    payments = Counter(service.asked).values()
    return Case(
        fault=fault,
        ended=ended,
        seconds=seconds,
        requests=max(requests),
        things=len(requests),
        went_on=went_on,
        right=sum(value == right for value, right in zip(values, RIGHT, strict=True)),
        failed=sum(result.error is not None for result in results),
        wrong=sum(value not in (None, right) for value, right in zip(values, RIGHT, strict=True)),
        lost=sum(result.value is None and result.error is None for result in results),
        paid=max(payments, default=0),
        twice=sum(count > 1 for count in payments),
        batches=len(service.batches),
    )


def called(call: Callable[[], Any]) -> str:
    """Make a call; say what the caller sees."""
    try:
        call()
    except ServiceError as refused:
        return "account" if refused.account else "transient" if refused.transient else "final"
    return "through"


def to_the_end(run: BatchRun[str]) -> str:
    """Finish a run; gives the calls that it took."""
    for calls in ("fetch", "submit, fetch", "submit --retry-failed, fetch"):
        if "submit" in calls:
            run.submit(ROWS, retry_failed="retry" in calls)
        if called(lambda: run.fetch(wait=True, poll=0)) == "through":
            return calls
    raise AssertionError("nothing helps")


def on_each_step(threads: ThreadPoolExecutor, timeout: float, times: int) -> dict[tuple[str, str], Case]:
    """Play every fault on every step; what is too much keeps the server busy, so it comes when all else is done."""
    places = [(fault, step) for names in FAMILIES.values() for fault in names.split() for step in STEPS]

    def at(place: tuple[str, str]) -> Case:
        return played(place[0], timeout, step=place[1], times=times)

    light = [place for place in places if place[0] not in FAMILIES["too much"].split()]
    heavy = [place for place in places if place not in light]
    return dict(zip(light + heavy, [*threads.map(at, light), *map(at, heavy)], strict=True))


def cell(found: list[Case]) -> str:
    """Sum up the cases of a family: how they ended, and the most requests, payments and seconds."""
    ended = Counter(case.ended for case in found)
    said = ", ".join(f"{count} {end}" for end, count in ended.most_common())
    most = max(c.requests for c in found), max(c.paid for c in found), max(c.seconds for c in found)
    return f"{said} ({most[0]} / {most[1]} / {most[2]:.1f} s)"


def table(found: dict[tuple[str, str], Case]) -> Iterator[str]:
    """Draw a Markdown table: families down, steps across."""
    yield "| fault | n | " + " | ".join(STEPS) + " |"
    yield "|---|---|" + "---|" * len(STEPS)
    for family, names in FAMILIES.items():
        faults = names.split()
        cells = [cell([found[fault, step] for fault in faults]) for step in STEPS]
        yield f"| {family} | {len(faults)} | " + " | ".join(cells) + " |"


def own_table(found: list[Case]) -> Iterator[str]:
    """Draw a Markdown table: one fault a line."""
    yield "| fault | the fetch ends | then | right | failed | asked again | batches |"
    yield "|---|---|---|---|---|---|---|"
    for c in found:
        then = "" if c.ended == "through" else c.went_on
        columns = (c.fault, c.ended, then, c.right, c.failed, c.twice, c.batches)
        yield "| " + " | ".join(map(str, columns)) + " |"


def main() -> int:
    """Play and print; 1 when a row was lost, wrong or paid twice, or a call took longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout", type=float, default=6.0)
    timeout = parser.parse_args().timeout
    logging.disable(logging.WARNING)
    cases: list[Case] = []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for times, title in ((1, "happens once"), (10**9, "lasts")):
            found = on_each_step(threads, timeout, times)
            print(f"\n## The fault {title} (timeout={timeout:g})\n")
            print("\n".join(table(found)), flush=True)
            cases += found.values()
        own = list(threads.map(lambda pair: played(pair[0], timeout, bend=pair[1]), OWN.items()))
    print("\n## In what a batch gives back\n")
    print("\n".join(own_table(own)), flush=True)
    bad = [case for case in cases + own if case.lost + case.wrong or case.seconds > timeout * 1.2 * case.things + 1]
    bad += [case for case in cases if case.right < len(ROWS) or case.went_on != "fetch"]
    print(f"\n{len(bad)} of {len(cases + own)} with lost or wrong rows, or a late end", *bad, sep="\n")
    again = [case for case in cases if case.paid > 1]
    print(f"\n{len(again)} of {len(cases)} faults on a step with a row that was paid twice", *again, sep="\n")
    return 1 if bad or again else 0


if __name__ == "__main__":
    sys.exit(main())
