"""Late copies of replies: how many rows get another row's value, and what the copies cost.

    python tests/benchmarks/strays.py [--rows 5000] [--every 50] [--delays 0 3 … 2000] [--works 20 100 300]

One reply in so many is sent twice, the copy so many milliseconds after it; each answer takes so many milliseconds of
work. A value is wrong when it is not the answer to the row's own text. The cell is the wrong values and the requests.
"""

from __future__ import annotations

import argparse
import os
import sys
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fault_server import FaultServer

from fewshot import Task

DELAYS = (0, 3, 8, 15, 30, 60, 100, 200, 300, 500, 1000, 2000)
WORKS = (20, 100, 300)


def cell(rows: int, every: int, delay: float, work: float, *, concurrency: int = 8) -> tuple[int, int, int]:
    """Give the wrong values, the rows that failed and the requests of one run, in seconds of delay and work."""
    with FaultServer() as server:
        server.answer = lambda body: str(body["messages"][-1]["content"]).rpartition(" ")[2]
        server.work = work
        server.twice = lambda number: delay if number % every == 0 else None
        task = Task.of("Repeat the number in: {{ text }}", output=int, base_url=server.base_url, model="m")
        texts = [f"row {number}" for number in range(rows)]
        results = list(task.map(texts, concurrency=concurrency))
        wrong = sum(r.error is None and r.value != number for number, r in enumerate(results))
        return wrong, sum(r.error is not None for r in results), len(server.requests)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--delays", type=int, nargs="*", default=DELAYS, metavar="MS")
    parser.add_argument("--works", type=int, nargs="*", default=WORKS, metavar="MS")
    parser.add_argument("--wires", nargs="*", default=["direct", "plain"])
    args = parser.parse_args()
    total = 0
    for wire, work, delay in product(args.wires, args.works, args.delays):
        os.environ["FEWSHOT_WIRE"] = wire
        wrong, failed, sent = cell(args.rows, args.every, delay / 1000, work / 1000, concurrency=args.concurrency)
        total += wrong
        print(
            f"{wire}, {work} ms of work, copy {delay:5} ms later: {wrong} wrong, {failed} failed, {sent} sent",
            flush=True,
        )
    print(f"{total} wrong values")


if __name__ == "__main__":
    main()
