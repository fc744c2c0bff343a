"""Bits that flip on the disk: no value is wrong, and no error is raw; more of them in benchmarks/bitflips.py."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))
from bitflips import batches, caches, records

from fewshot.bulk.checkpoint import Checkpoint, Saved, record_of

FACTS = {"task": "sentiment@1", "model": "m"}
ROWS = [Saved(n, b"key %d" % n, b'{"row": %d, "value": "words of %d"}' % (n, n), failed=False) for n in range(4)]


@pytest.mark.parametrize(("kind", "n"), [(records, 60), (caches, 15), (batches, 20)])
def test_a_flipped_bit_makes_no_value_wrong(kind: Callable[..., Iterator[tuple[str, str]]], n: int) -> None:
    came = [what for _, what in kind(n, 12, random.Random(n))]
    assert len(came) == n
    assert set(came) <= {"right", "ConfigError"}
    assert came.count("right") > n / 2


def damaged(out: Path, *rows: Saved) -> None:
    """Save rows, and have a word of the one with number 2 read otherwise in the record."""
    checkpoint = Checkpoint(out, FACTS)
    checkpoint.save(rows)
    checkpoint.close()
    data = record_of(out).read_bytes()
    assert data.count(b"words of 2") == 1
    record_of(out).write_bytes(data.replace(b"words of 2", b"works of 2"))


def test_a_damaged_row_is_taken_from_the_output_that_agrees(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged(tmp_path / "out.jsonl", *ROWS)
    again = Checkpoint(tmp_path / "out.jsonl", FACTS)
    assert list(again.saved()) == ROWS
    assert "4 of its rows are sound, 0 are asked again" in caplog.text
    again.close()


def test_a_damaged_row_that_the_output_lacks_is_asked_again(tmp_path: Path) -> None:
    damaged(tmp_path / "out.jsonl", *ROWS[1:])
    again = Checkpoint(tmp_path / "out.jsonl", FACTS)
    done, equal = again.find(0, [row.key for row in ROWS])
    assert (sorted(done), equal) == ([1, 3], {})
    again.save([ROWS[0], ROWS[2]])
    assert (tmp_path / "out.jsonl").read_bytes() == b"".join(row.line + b"\n" for row in ROWS)
    again.close()
