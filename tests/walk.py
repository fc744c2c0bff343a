"""How often the flow of one warm `classify_sentiment(text)` changes module: the walk that a reader of the code makes.

    python tests/walk.py            the counts, and the modules in the order of their first entry
    python tests/walk.py --trace    every function entered besides

A change is a call that goes from one module of the package into another; a change back is one into a module that the
walk had been in already. The server is the stub of the benchmarks, the call the third one, so that nothing is made
anew. Generators and coroutines that are resumed are not entered again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import fewshot

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
PACKAGE = Path(fewshot.__file__).parent
_RESUMED = 0x20 | 0x80 | 0x200
"""Flags of generators, coroutines and asynchronous generators."""

Step = tuple[str, str]


class Walk:
    """Notes every function of the package that is entered while it is the profiler."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._frames: list[FrameType] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(str(PACKAGE)) or code.co_name.startswith("<"):
            return
        if code.co_flags & _RESUMED:
            if any(frame is known for known in self._frames):
                return
            self._frames.append(frame)
        self.steps.append((code.co_filename[len(str(PACKAGE)) + 1 : -3].replace("/", "."), code.co_name))


def counts(steps: list[Step]) -> dict[str, int]:
    """Count functions entered, modules, changes of module, and those back into a module left before."""
    modules = [module for module, _ in steps]
    changes = [b for a, b in pairwise(modules) if a != b]
    known = {modules[0]}
    back = 0
    for module in changes:
        back += module in known
        known.add(module)
    lines = sum(len((PACKAGE / f"{name.replace('.', '/')}.py").read_text("utf-8").splitlines()) for name in known)
    return {"functions": len(steps), "modules": len(known), "changes": len(changes), "back": back, "lines": lines}


async def _warm(url: str) -> list[Step]:
    from fewshot import classify_sentiment

    options: dict[str, Any] = {"base_url": url, "model": "stub", "api_key": "k"}
    for text in ("It works.", "It works again."):  # connections are kept from the second one on, and rest a while
        await classify_sentiment.acall(text, **options)
    await asyncio.sleep(0.1)
    walk = Walk()
    sys.setprofile(walk)
    try:
        await classify_sentiment.acall("It works well.", **options)
    finally:
        sys.setprofile(None)
    return walk.steps


def warm_call() -> list[Step]:
    """Walk through the third call against the stub, all on one thread."""
    from bench import stub

    with stub(0) as url:
        return asyncio.run(_warm(url))


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", action="store_true", help="print every function entered")
    args = parser.parse_args()
    steps = warm_call()
    print(", ".join(f"{name} {count}" for name, count in counts(steps).items()))
    if args.trace:
        for module, function in steps:
            print(f"  {module}.{function}")
    else:
        print(" -> ".join(dict.fromkeys(module for module, _ in steps)))


if __name__ == "__main__":
    main()
