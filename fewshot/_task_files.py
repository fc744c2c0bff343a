"""The one reader of a task folder's files, which may come from anywhere: what they are is known before they are read.

A file is a regular one that lies in the folder itself, wherever links point, and is no longer than such a file may be.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from fewshot.errors import TaskError

__all__ = ["check_file", "is_there", "read_file", "read_toml"]

_MOST, _MOST_ROWS = 2**20, 2**26
"""Bytes that a file may have, and one that holds examples or test rows."""
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04")
_DEEPEST = 200


def is_there(path: Path) -> bool:
    """Tell whether a folder has such an entry, whatever it is: what is not a file is refused, not passed over."""
    return os.path.lexists(path)


def check_file(path: Path) -> None:
    """See that a file may be read.

    Raises:
        TaskError: it is missing, no regular file, a link out of its folder, or too long.
    """
    try:
        target = path.resolve(strict=True)
        status = target.stat()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links is a RuntimeError
        raise TaskError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=path) from None
    if path.parent.resolve() not in target.parents:
        raise TaskError(f"is a link out of its folder, to {target}: put the file itself there", path=path)
    if not stat.S_ISREG(status.st_mode):
        raise TaskError("is not a regular file: put a file of text there", path=path)
    most = _MOST_ROWS if path.stem in ("examples", "test") else _MOST
    if status.st_size > most:
        raise TaskError(f"has {status.st_size:,} bytes, and such a file at most {most:,}: shorten it", path=path)
    with target.open("rb") as file:
        if file.read(5).startswith(_PACKED):
            raise TaskError("is packed: unpack it, so that people can read it", path=path)


def read_file(path: Path) -> str:
    """Read a file that `check_file` allows; raises TaskError for any other, and for one that is not UTF-8."""
    check_file(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"cannot be read as UTF-8 text: {error}", path=path) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises TaskError, with the line, where it cannot be read."""
    text = read_file(path)
    if text.startswith("\ufeff"):
        raise TaskError("begins with a byte order mark, which TOML does not have: save it without", path=path, line=1)
    for number, line in enumerate(text.split("\n"), start=1):
        if any(part.count(".") > _DEEPEST for part in line.split("=")):  # keys of which the parser takes ages
            raise TaskError(f"is nested too deep: more than {_DEEPEST} dots in a row", path=path, line=number)
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and what Python says to a number of thousands of digits
        found = re.search(r"\(at line (\d+)", str(error))  # before Python 3.14 the text alone tells
        quotes = '; a text stands in quotes, as "bug"' if str(error).startswith("Invalid value") else ""
        at = int(found[1]) if found else None
        raise TaskError(f"is not valid TOML: {error}{quotes}", path=path, line=at) from error
    except RecursionError as error:
        raise TaskError("is nested too deep", path=path) from error
