"""A pool of many examples: how long the first choice of shots by bm25 takes, and the next, and how much memory.

python tests/benchmarks/pool.py            # 100,000 examples; one process for each figure of memory
python tests/benchmarks/pool.py 10000
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import fewshot

WORDS = [
    f"{a}{b}"
    for a in ["ka", "to", "mi", "ren", "so", "lu", "ba", "di", "fe", "gor"]
    for b in ["na", "vo", "ti", "sel", "ra", "mu", "do", "pe", "ki", "lor"]
]


def text(draw: random.Random) -> str:
    """Give some thirty words, most of them common ones, and a rare one."""
    common = draw.choices(WORDS, weights=[1 / (n + 1) for n in range(len(WORDS))], k=draw.randint(10, 50))
    return " ".join([*common, f"{draw.choice(WORDS)}{draw.randrange(3000)}"])


def write(folder: Path, count: int) -> None:
    """Write a task with so many examples."""
    draw = random.Random(0)
    (folder / "task.toml").write_text('description = "Which?"\noutput = ["red", "blue"]\n\n[inputs]\ntext = "a text"\n')
    (folder / "prompt.jinja").write_text(
        "{% block instruction %}Which?{% endblock %}{% block input %}Text: {{ text }}{% endblock %}"
        "{% block output %}Colour: {{ output }}{% endblock %}"
    )
    with (folder / "examples.jsonl").open("w") as file:
        for n in range(count):
            file.write(json.dumps({"text": text(draw), "output": ["red", "blue"][n % 2]}) + "\n")


def megabytes() -> int:
    """Give the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(count: int, folder: str) -> None:
    """Measure in this process: seconds of the processor, since a machine may have other work."""
    draw, before, clock = random.Random(1), megabytes(), time.process_time
    start = clock()
    client = fewshot.ScriptedClient(lambda _: "red")
    task = fewshot.load(folder, select="bm25", k=8, client=client, scoring=False)
    read = clock()
    task(text(draw))
    first = clock()
    times = []
    for _ in range(50):
        asked = text(draw)
        begin = clock()
        task(asked)
        times.append((clock() - begin) * 1000)
    told = f"{count:,} examples: read {read - start:.1f} s, first call {first - read:.1f} s"
    print(f"{told}, next {statistics.median(times):.1f} ms (slowest {max(times):.0f} ms), {megabytes() - before} MB")


if __name__ == "__main__":
    amount = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    if len(sys.argv) > 2:
        main(amount, sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "pool"
            folder.mkdir()
            write(folder, amount)
            for _ in range(2):  # the second process finds what the first has kept
                os.spawnv(os.P_WAIT, sys.executable, [sys.executable, __file__, str(amount), str(folder)])
