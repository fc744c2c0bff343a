"""Throws broken input at everything that reads what others wrote, and lists what does not end in an error of ours.

    python tests/fuzz.py [--seconds 60] [--targets template,reply] [--seed 0]

Good samples are cut, doubled, mixed and sown with what tends to break readers; JSON is also changed inside. Each target
must give a value or one of our errors, within five seconds and 256 MB. A finding is cut down to what still shows it.
`tests/test_fuzz.py` runs a little of it each time, and all that was ever found.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz_targets import TARGETS, Target

LONGEST = 20_000
SECONDS_EACH = 5.0
MEMORY = 2**28
"""Bytes by which a reader may make the process grow."""

_SOWN = r"""
{ } [ ] " ' : , \ {{ }} {% %} {# #} {%_endblock_%} {%_for_x_in_text_%} {%_if_ {{_text {%_set_x_=_
{%_macro_m(x)_%} _|_tojson _|_first _|_int _|_join _~_ - 0 1e999 -1e-999 NaN Infinity null true [] {} ""
\ud800 \u0000 ``` ```json\n ** not_ positive negative answer:_ =_ 1,000.5 1/0 % = output_=_ [settings] k_=_-1
[[a]] <|im_end|> @ +
"""
SOWN = [word.replace("_", " ").encode() for word in _SOWN.split()]
"""What breaks readers: their own signs, and numbers and characters at the edge."""
SOWN += [
    b"\n",
    b"\r",
    b"\r\n",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\x98\x80",
]
SOWN += [b"\xd9\xa3", b"3 \xc3\x97 4", b"9" * 400, b"1" * 5000, b"(" * 300, b"[" * 3000]
SOWN += [b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"]
PUT_IN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1e308,
    -0.0,
    10**400,
    -(10**400),
    0.5,
    [],
    {},
    [None],
    [[]],
    [{}],
    [1, "a"],
]
PUT_IN += ["", " ", "x", "\x00", "\ud800", "positive", "9" * 5000, "bytes:\\xff", "http://[", [-1, 300]]
PUT_IN += [{"a": None}, {"index": "x"}, {"": ""}, {"bytes": [999]}]
"""What takes the place of something inside JSON."""


class HangError(BaseException):
    """A target took too long; no reader may catch this by chance."""


@dataclass(frozen=True)
class Found:
    """An input that broke a target, and how."""

    target: str
    data: bytes
    how: str
    trace: str


def mutated(seed: random.Random, samples: list[bytes]) -> bytes:
    """Give a broken relative of the samples."""
    data = seed.choice(samples)
    if seed.random() < 0.4:
        data = _changed_inside(seed, data) or data
        if seed.random() < 0.7:
            return data[:LONGEST]
    for _ in range(seed.choice((1, 1, 2, 3, 6))):
        data = _broken(seed, data, samples)
    return data[:LONGEST]


def _broken(seed: random.Random, data: bytes, samples: list[bytes]) -> bytes:
    at, to = sorted((seed.randint(0, len(data)), seed.randint(0, len(data))))
    to = min(to, at + 40) if seed.random() < 0.7 else to
    match seed.randrange(7):
        case 0:
            return data[:at] + seed.choice(SOWN) + data[at:]
        case 1:
            return data[:at] + seed.choice(SOWN) + data[to:]
        case 2:
            return data[:at] + data[to:]
        case 3:
            return data[:to] + data[at:to] * seed.choice((1, 1, 3, 1000)) + data[to:]
        case 4:
            return data[:at] + seed.randbytes(seed.randint(1, 4)) + data[at:]
        case 5:
            other = seed.choice(samples)
            return data[:at] + other[seed.randint(0, len(other)) :]
        case _:
            return data[:at] + bytes([data[at] ^ (1 << seed.randrange(8))]) + data[at + 1 :] if at < len(data) else data


def _changed_inside(seed: random.Random, data: bytes) -> bytes | None:
    """Change one place inside JSON, or inside one line of it."""
    lines = data.split(b"\n")
    number = seed.randrange(len(lines))
    for text, before, after in ((data, [], []), (lines[number], lines[:number], lines[number + 1 :])):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        places = list(_places(value))
        if places:
            holder, key = seed.choice(places)
            if seed.random() < 0.15:
                del holder[key]
            else:
                holder[key] = seed.choice(PUT_IN)
        else:
            value = seed.choice(PUT_IN)
        return b"\n".join([*before, _dumps(value), *after])
    return None


def _dumps(value: Any) -> bytes:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value).encode()
    finally:
        sys.set_int_max_str_digits(limit)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield value, key
        yield from _places(item)


def tried(name: str, target: Target, data: bytes) -> Found | None:
    """Give one input to a target; None when it ended as it should."""
    try:
        with _deadline(SECONDS_EACH), _little_memory():
            target.read(data)
    except target.errors:
        return None
    except (Exception, HangError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = next((f for f in reversed(frames) if "/fewshot/" in f.filename), frames[-1])
        place = f"{ours.filename.rpartition('/')[2]}:{ours.lineno}"
        return Found(name, data, f"{type(error).__name__} at {place}", traceback.format_exc(limit=-6))
    return None


@contextmanager
def _little_memory() -> Iterator[None]:
    """Let the process grow by no more than `MEMORY`, where the system can hold it to that."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    now = int(statm.read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise HangError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def cut_down(found: Found, target: Target, tries: int = 400) -> Found:
    """Take out of a finding what it does not need."""
    size = len(found.data) // 2
    while size and tries:
        at = 0
        while at < len(found.data) and tries:
            tries -= 1
            less = tried(found.target, target, found.data[:at] + found.data[at + size :])
            if less is not None and less.how == found.how:
                found = less
            else:
                at += size
            if "HangError" in found.how:
                tries = max(0, tries - 40)
        size //= 2
    return found


def fuzz(name: str, *, seed: int, until: Callable[[int], bool], cut: bool = True) -> tuple[int, list[Found]]:
    """Break one target for a while; gives the number of inputs, and one finding for each place that broke."""
    target, chance = TARGETS[name], random.Random(f"{seed} {name}")
    found: dict[str, Found] = {}
    count = 0
    while not until(count):
        count += 1
        new = tried(name, target, mutated(chance, target.samples))
        if new is not None and new.how not in found:
            found[new.how] = cut_down(new, target) if cut else new
    return count, list(found.values())


def main() -> int:
    """Fuzz, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    names, total = args.targets.split(","), 0
    for name in names:
        ends = time.monotonic() + args.seconds / len(names)
        count, found = fuzz(name, seed=args.seed, until=lambda _, ends=ends: time.monotonic() > ends)
        total += len(found)
        print(f"{name}: {count:,} inputs, {len(found)} findings", flush=True)
        for one in found:
            print(f"  {one.how}\n  {one.data[:300]!r}\n{one.trace}", flush=True)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
