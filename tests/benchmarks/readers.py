"""How fast a clean CSV is read, against `csv.DictReader` in the same run, and how much memory a long file takes.

    python tests/benchmarks/readers.py [rows]

`DictReader` and picking the columns was the whole of the reader before; it looked at nothing. Seconds are of the CPU.
"""

from __future__ import annotations

import csv
import io
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from fewshot import load
from fewshot.data.columns import Columns, read_rows


def write(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        writer.writerows(
            [number, f"It is nice, but the lid of number {number} broke", "negative"] for number in range(rows)
        )


def plain(path: Path) -> Iterator[dict[str, str]]:
    with path.open("rb") as file, io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        for record in csv.DictReader(text):
            wanted = {name: name for name in ("text",)}
            row = {name: record[column] for name, column in wanted.items() if record.get(column) is not None}
            if "id" not in row and record.get("id") is not None:
                row["id"] = record["id"]
            yield row


def seconds(read: Callable[[], Iterator[object]]) -> float:
    start = time.process_time()
    for _ in read():
        pass
    return time.process_time() - start


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    columns = Columns(load("sentiment"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write(path, rows)
        ours, theirs = (
            min(seconds(read) for _ in range(3)) for read in (lambda: read_rows(path, columns), lambda: plain(path))
        )
        print(f"{rows:,} rows: DictReader {theirs:.2f} s, this reader {ours:.2f} s, ratio {ours / theirs:.2f}")
        tracemalloc.start()
        for number, _ in enumerate(read_rows(path, columns)):
            if number == 10_000:
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
        print(f"memory beyond the first 10,000 rows: {(tracemalloc.get_traced_memory()[1] - before) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
