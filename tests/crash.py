"""Kill a bulk run with SIGKILL at random moments, again and again, and check after each that nothing is lost.

    python tests/crash.py --kills 200            # the real command line
    python tests/crash.py --target map --kills 200 --defect "resume by text"     # must be caught

Invariants: every line of the output reads, is right, stands in its place and never changes again; what was reported is
kept; at the end the bytes are those of a run that was never killed; and the service gave no more good answers than
there are distinct rows, and for each kill the rows in flight.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SERVERS = HERE.parents[1] / "shared" / "servers"
_LONGEST = 120.0


def chaos() -> Any:
    """Import the shared fault server."""
    sys.path.insert(0, str(SERVERS))
    try:
        return importlib.import_module("chaos")
    finally:
        sys.path.remove(str(SERVERS))


def make_rows(count: int, rnd: random.Random) -> list[dict[str, Any]]:
    """Make rows of all sorts: equal ones, line separators, line feeds, quotes, half a character."""
    rows: list[dict[str, Any]] = []
    for i in range(count):
        kind = i % 10
        if kind == 0 and i:
            text = rows[rnd.randrange(i)]["text"]
        else:
            text = {
                1: f"I love row {i} é\u2028ü \U0001f600",
                2: f"line one\nline two says I love row {i}",
                3: f'quote " backslash \\ I hate row {i}',
            }.get(kind, f"I {'love' if i % 2 else 'hate'} row {i}")
        rows.append({"id": i, "text": text})
    return rows


@dataclass
class Harness:
    """One loop of kills over one output."""

    server: Any
    answer: Any
    folder: Path
    rows: list[dict[str, Any]]
    concurrency: int
    target: str = "cli"
    defect: str = ""
    problems: collections.Counter[str] = field(default_factory=collections.Counter)
    samples: dict[str, str] = field(default_factory=dict)
    kills: int = 0
    useful: int = 0
    runs: int = 0

    def __post_init__(self) -> None:
        self.inp, self.out = self.folder / "in.jsonl", self.folder / "out.jsonl"
        self.inp.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        self.seen: list[bytes] = []
        self.acked: set[int] = set()
        self.since = 0
        self.wanted = b""
        self.right: list[str] = []

    @property
    def distinct(self) -> int:
        return len({row["text"] for row in self.rows})

    def command(self) -> list[str]:
        if self.target == "map":
            port = str(self.server.port)
            words = [str(HERE / "crash_target.py"), str(self.inp), str(self.out), port, str(self.concurrency)]
            return [sys.executable, *words, *([self.defect] if self.defect else [])]
        words = ["run", "sentiment", "--k", "4", "--file", str(self.inp), "--out", str(self.out), "--quiet"]
        words += ["--base-url", self.server.base_url, "--model", "chaos-1", "--concurrency", str(self.concurrency)]
        return [sys.executable, "-m", "fewshot", *words]

    def run(self, kill_after: float | None) -> bool:
        """Run the target, kill it after so many seconds, and look at what it left; True when it got to its end."""
        self.runs += 1
        environment = {**os.environ, "OPENAI_API_KEY": "sk-test"}
        process = subprocess.Popen(
            self.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
        )
        try:
            said, complained = process.communicate(timeout=kill_after or _LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, complained = process.communicate()
            if kill_after is None:
                self.bad("the run hangs", f"for {_LONGEST} s")
        killed = process.returncode == -signal.SIGKILL and kill_after is not None
        self.kills += killed
        self.since += killed
        if not killed and process.returncode:
            self.bad("the run failed", f"{process.returncode}: {complained.decode()[-300:]}")
        acked = {int(word[4:]) for word in said.decode().split("\n") if word.startswith("ACK ") and word[4:].isdigit()}
        self.useful += killed and bool(acked or self.out.exists())
        for again in acked & self.acked:
            self.bad("an acknowledged row is done again", f"id {again}")
        self.acked |= acked
        self.look()
        return not killed

    def look(self) -> None:
        """Check the output as it stands."""
        data = self.out.read_bytes() if self.out.exists() else b""
        *lines, _ = data.split(b"\n")
        for position, line in enumerate(lines):
            if position < len(self.seen):
                if line != self.seen[position]:
                    self.bad("a durable row changed", f"row {position}")
                continue
            try:
                found = json.loads(line)
            except ValueError:
                self.bad("a line does not read", f"line {position}: {line[:60]!r}")
                continue
            row = self.rows[position] if position < len(self.rows) else {}
            if (found["row"], found["id"]) != (position, row.get("id")):
                self.bad("a row is out of place", f"line {position} holds row {found['row']}")
            elif self.wanted and found["value"] != self.right[position]:
                self.bad("a wrong value", f"row {position}: {found['value']}")
        if len(lines) < len(self.seen):
            self.bad("durable rows vanished", f"{len(self.seen)} -> {len(lines)}")
        if lost := [i for i in self.acked if i >= len(lines)]:
            self.bad("acknowledged rows are lost", f"{len(lost)} rows, e.g. id {lost[0]}")
        self.seen = lines

    def check_end(self) -> None:
        """Check the output and the bill of a run that got to its end."""
        data = self.out.read_bytes()
        if not self.wanted:
            self.wanted = data
            self.right = [json.loads(line)["value"] for line in data.split(b"\n")[:-1]]
            for row, value in zip(self.rows, self.right, strict=False):
                if "\n" not in row["text"] and value != self.answer(row["text"]):
                    self.bad("a wrong value", f"row {row['id']}: {value}")
        for one, other in zip(data.split(b"\n"), self.wanted.split(b"\n"), strict=False):
            if one != other:
                self.bad("not the bytes of an uninterrupted run", f"{one!r} and {other!r}")
        if len(self.seen) != len(self.rows) or not data.endswith(b"\n"):
            self.bad("rows are missing at the end", f"{len(self.seen)} of {len(self.rows)}")
        stats = self.server.stats()
        most = self.distinct + self.since * self.concurrency
        if stats["good_answers_sent"] > most:
            self.bad("paid too often", f"{stats['good_answers_sent']} good answers, at most {most}")
        if not self.since and stats["billed"] != self.distinct:
            self.bad("a clean run paid too often", f"{stats['billed']} for {self.distinct}")
        if stats["max_inflight"] > self.concurrency:
            self.bad("too many in flight", str(stats))

    def start_over(self) -> None:
        for path in self.folder.glob("*out.jsonl*"):
            path.unlink()
        self.seen, self.acked, self.since = [], set(), 0
        self.server.reset()

    def bad(self, problem: str, sample: str) -> None:
        self.problems[problem] += 1
        self.samples.setdefault(problem, sample)


def kill_loop(
    *,
    kills: int,
    rows: int = 120,
    concurrency: int = 4,
    seed: int = 1,
    target: str = "cli",
    defect: str = "",
    latency: str = "2,15",
    until_seen: bool = False,
) -> Harness:
    """Run to the end once, then kill at random moments, start and recovery included.

    Arguments:
        until_seen: end at the first problem: enough where one is sought.
    """
    module, rnd = chaos(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="crash") as folder, contextlib.ExitStack() as stack:
        server = stack.enter_context(module.spawn(seed=seed, args=["--latency-ms", latency]))
        harness = Harness(
            server, module.answer, Path(folder), make_rows(rows, rnd), concurrency, target=target, defect=defect
        )
        begun = time.monotonic()
        harness.run(None)
        harness.check_end()
        if harness.problems:  # seen without a kill
            return harness
        whole = time.monotonic() - begun
        harness.start_over()
        while harness.kills < kills and harness.runs < 3 * kills + 3:
            if until_seen and harness.problems:
                return harness
            early = rnd.random() < 0.3
            delay = 0.03 * (whole / 0.03) ** rnd.random() if early else rnd.uniform(0.4, 1) * whole
            begun = time.monotonic()
            if harness.run(delay):
                whole += 0.3 * (time.monotonic() - begun - whole)
                harness.check_end()
                harness.start_over()
        harness.run(None)
        harness.check_end()
    return harness


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=("cli", "map"), default="cli")
    parser.add_argument("--defect", default="")
    found = vars(parser.parse_args())
    begun = time.monotonic()
    harness = kill_loop(**found)
    told = {
        **found,
        "kills": harness.kills,
        "with output": harness.useful,
        "runs": harness.runs,
        "seconds": round(time.monotonic() - begun),
        "problems": dict(harness.problems),
        "samples": harness.samples,
    }
    print(json.dumps(told))
    return 1 if harness.problems else 0


if __name__ == "__main__":
    sys.exit(main())
