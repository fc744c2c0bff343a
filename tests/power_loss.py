"""Power-loss replay of a bulk run: every state of the disk that a power cut could leave, recovered from and checked.

    python tests/power_loss.py --states 200 [--rows 12] [--defect "synchronous off"]

The replay itself is the shared harness `powerloss.py` (it needs strace); this runs our target under it and reads our
lines.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SERVERS = HERE.parents[1] / "shared" / "servers"


def read_lines(kind: str, path: str) -> tuple[list[tuple[int, str]], list[str]]:
    """Read an output as the harness wants it: (id, value) of each line, and what is wrong."""
    try:
        *lines, tail = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    found, problems = [], [f"a torn tail: {tail[:50]!r}"] if tail else []
    for number, line in enumerate(lines):
        try:
            about = json.loads(line)
            found.append((about["id"], about["value"]))
        except (ValueError, KeyError, TypeError):
            problems.append(f"line {number} does not read: {line[:50]!r}")
    return found, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--states", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--defect", default="")
    args = parser.parse_args()
    sys.path.insert(0, str(SERVERS))
    crash_loop: Any = importlib.import_module("crash_loop")
    powerloss: Any = importlib.import_module("powerloss")
    crash_loop.read_store = read_lines
    crash_loop.make_rows = lambda n, rnd: [
        {"id": i, "text": f"I {'love' if i % 2 else 'hate'} row {i}"} for i in range(n)
    ]
    words = [sys.executable, str(HERE / "crash_target.py")]
    runner = " ".join(
        [*map(shlex.quote, words), "{inp} {store} {port} {conc}", *([shlex.quote(args.defect)] * bool(args.defect))]
    )
    sys.argv = ["powerloss.py", "--runner", runner, "--store-kind", "jsonl", "--rows", str(args.rows)]
    sys.argv += ["--states", str(args.states), "--seed", str(args.seed)]
    return int(powerloss.main())


if __name__ == "__main__":
    sys.exit(main())
