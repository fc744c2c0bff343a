"""Single bits flipped in the run record, the answer cache and the state of a batch run: wrong values, raw errors.

    python tests/benchmarks/bitflips.py [--n 2000] [--seed 0] [--rows 60]

Each time one bit of a sound file is flipped, the run goes on, and every value is compared with the right one. What is
allowed: the right value, or an error of ours that says what is wrong.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from batch_service import Service

from fewshot import Task
from fewshot.bulk.batch_api.run import BatchRun
from fewshot.errors import FewshotError
from fewshot.models.cache import CachedClient
from fewshot.models.completion_store import Answers
from fewshot.models.endpoint import Endpoint
from fewshot.models.scripted import ScriptedClient
from fewshot.types import Request

Flip = tuple[str, str]
"""What was damaged, and what came of it."""


def said(request: Request) -> str:
    """Give the right answer to a row, with what may be mistaken for another when a bit of it flips."""
    return f"summary number {re.findall('[0-9]+', request.chat[-1].content)[-1]} of the text, all fine"


def flip(path: Path, luck: random.Random) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    place = luck.randrange(len(data))
    data[place] ^= 1 << luck.randrange(8)
    path.write_bytes(data)


def judged(found: Callable[[], list[object]], right: list[object]) -> str:
    """Say what a run came to."""
    try:
        values = found()
    except FewshotError as error:
        return type(error).__name__
    except Exception as error:
        return f"RAW {type(error).__name__}: {error}"
    wrong = [(a, b) for a, b in zip(values, right, strict=True) if a != b]
    return f"WRONG {wrong[0]}" if wrong else "right"


def records(n: int, rows: int, luck: random.Random) -> Iterator[Flip]:
    """Damage the record of a run that is half done, or the log beside it."""
    with tempfile.TemporaryDirectory() as folder:
        task = Task.of("Summarize: {{ text }}", output=str, client=ScriptedClient(said))
        texts = [f"text {number}" for number in range(rows)]
        right: list[object] = [f"summary number {number} of the text, all fine" for number in range(rows)]
        sound = Path(folder, "sound.jsonl")
        list(task.map(texts[: rows - rows // 4], out=sound))
        for number in range(n):
            out = Path(folder, f"{number}.jsonl")
            shutil.copy(sound, out)
            shutil.copy(f"{sound}.run", f"{out}.run")
            flip(Path(f"{out}.run"), luck)
            came = judged(lambda: [r.value for r in task.map(texts, out=out)], right)  # noqa: B023 - called here
            if came == "right" and out.read_bytes().count(b"\n") != rows:
                came = "WRONG number of lines"
            yield "record", came


def caches(n: int, rows: int, luck: random.Random) -> Iterator[Flip]:
    """Damage the cache."""
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint(model="scripted", base_url="http://there.internal/v1")

        def asked(place: Path) -> list[object]:
            answers = Answers(place)
            client = CachedClient(ScriptedClient(said), "there", endpoint, answers)
            task = Task.of("Summarize: {{ text }}", output=str, client=client)
            try:
                return [result.value for result in task.map([f"text {number}" for number in range(rows)])]
            finally:
                answers.close()

        sound = Path(folder, "sound")
        sound.mkdir()
        right = asked(sound)
        for number in range(n):
            place = Path(folder, str(number))
            shutil.copytree(sound, place)
            flip(place / "answers-1.sqlite", luck)
            yield "cache", judged(lambda: asked(place), right)  # noqa: B023 - called here


def batches(n: int, rows: int, luck: random.Random) -> Iterator[Flip]:
    """Damage the state of a batch run: one that is done, and one that is under way."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service()
        labels = ["positive", "negative"]
        task = Task.of("{{ text }}", output=labels, client=service.client(), model="m", calibrate=False)
        texts = [f"{'good' if number % 3 else 'bad'} text {number}" for number in range(rows)]
        right: list[object] = ["positive" if number % 3 else "negative" for number in range(rows)]

        def done(place: Path) -> list[object]:
            run = BatchRun(task, place)
            run.submit(texts)
            run.fetch(wait=True, poll=0.0)
            return [result.value for result in run.results()]

        under_way, finished = Path(folder, "under way"), Path(folder, "finished")
        BatchRun(task, under_way).submit(texts)
        done(finished)
        for number in range(n):
            place = Path(folder, str(number))
            shutil.copytree(finished if number % 2 else under_way, place)
            flip(place / "state.sqlite", luck)
            yield "batch", judged(lambda: done(place), right)  # noqa: B023 - called here


def flips(n: int, rows: int, seed: int) -> Iterator[Flip]:
    """Flip so many bits in each of the three."""
    luck = random.Random(seed)
    for kind in (records, caches, batches):
        yield from kind(n, rows, luck)


def main() -> None:
    """Print what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--n", type=int, default=700, help="flips in each of the three")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=40)
    args = parser.parse_args()
    logging.disable()
    for (kind, came), count in sorted(Counter(flips(args.n, args.rows, args.seed)).items()):
        print(f"{kind:8} {count:6}  {came}")


if __name__ == "__main__":
    main()
