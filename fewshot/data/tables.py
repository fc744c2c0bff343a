"""Results as a table for people and data frames: CSV and Parquet, made from the lines of a finished run."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fewshot.errors import ConfigError

__all__ = ["check_table", "is_table", "write_table"]

_GROUP = 4096
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_AFTER = ("value", "confidence", "abstained", "error", "probabilities", "model", "cost", "cached")


def is_table(path: Path) -> bool:
    """Tell whether results go to this path as a table, which is made at the end, and not line by line."""
    return path.suffix.lower() in (".csv", ".parquet")


def check_table(path: Path) -> None:
    """Raise ConfigError where the extra that writes this kind of table is missing, before anything is asked."""
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ConfigError("Parquet files need an extra: pip install 'fewshot[bulk]'") from error


def write_table(path: Path, lines: Iterable[bytes], inputs: Sequence[str]) -> None:
    """Write results as CSV or Parquet, all of it or nothing.

    In CSV a text that a spreadsheet would take for a formula gets a leading apostrophe.

    Arguments:
        lines: the JSON lines of the results.
        inputs: names of the inputs, each a column before the value.

    Raises:
        ConfigError: the place cannot be written.
    """
    columns = ["row", "id", *(name for name in inputs if name not in ("row", "id", *_AFTER)), *_AFTER]
    rows = (_flat(json.loads(line), columns) for line in lines)
    scratch = path.with_name(f".{path.name}.new")
    try:
        (_write_csv if path.suffix.lower() == ".csv" else _write_parquet)(scratch, columns, rows)
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        advice = "see that the folder is there, can be written and has room, and run it again: nothing is asked anew"
        raise ConfigError(f"cannot write {path}: {error.strerror or error}; {advice}") from error


def _flat(line: dict[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    error = line["error"] and f"{line['error']['type']}: {line['error']['message']}"
    row = {**line["inputs"], **line, "error": error}
    return {name: row.get(name) for name in columns}


def _write_csv(path: Path, columns: Sequence[str], rows: Iterator[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row[name]) for name in columns])


def _cell(value: object) -> object:
    text = _text(value)
    return f"'{text}" if isinstance(value, str) and text and text.lstrip(" ").startswith(_FORMULA) else text


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write_parquet(path: Path, columns: Sequence[str], rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    known = {
        "row": pyarrow.int64(),
        "confidence": pyarrow.float64(),
        "abstained": pyarrow.bool_(),
        "cost": pyarrow.float64(),
        "cached": pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, known.get(name, pyarrow.string())) for name in columns])
    with parquet.ParquetWriter(path, schema) as writer:
        group: list[dict[str, Any]] = []
        for row in rows:
            group.append({name: value if name in known else _text(value) for name, value in row.items()})
            if len(group) == _GROUP:
                writer.write_table(pyarrow.Table.from_pylist(group, schema))
                group = []
        writer.write_table(pyarrow.Table.from_pylist(group, schema))
