"""What a person sees on a terminal: colour where there is one, and one line for each thing that is told."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Any, Literal, TextIO

__all__ = ["has_colour", "painted", "put", "put_found", "shown", "tell_line"]

Style = Literal["bold", "dim", "red", "yellow"]
_CODES: dict[Style, str] = {"bold": "1", "dim": "2", "red": "31", "yellow": "33"}


_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves the cursor, colours, or turns letters round: controls but tab and line break, and bidi marks."""


def shown(text: object) -> str:
    """Give a text as a terminal may show it, whoever wrote it: what works unseen is written out."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], str(text))


def put(text: object, stream: TextIO | None = None) -> None:
    """Write what a person reads, by default to standard output; a terminal's lines end at words, and go on indented."""
    stream, text = stream or sys.stdout, shown(text)
    if stream.isatty():
        width = shutil.get_terminal_size().columns
        text = "\n".join(_fitted(line, width) for line in text.split("\n"))
    print(text, file=stream)


def put_found(found: Mapping[str, Any], text: object, *, as_json: bool) -> None:
    """Write what a command has found to standard output: as one JSON object in a line, or as a person reads it."""
    if as_json:
        print(json.dumps(found, ensure_ascii=False, default=str).encode("utf-8", "replace").decode())
    else:
        put(text)


def _fitted(line: str, width: int) -> str:
    """Break a line at words; what follows a name and two spaces goes on below itself."""
    begins = _NAME.match(line)
    indent = " " * (begins.end() if begins and begins.end() < width / 2 else len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


_NAME = re.compile(r"\s*\S+(?: \S+)*  +(?=\S)")


def has_colour(stream: TextIO) -> bool:
    """Tell whether this is a terminal that shows colours, and nobody has asked for none (https://no-color.org)."""
    asked_for_none = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return bool(not asked_for_none and (os.environ.get("FORCE_COLOR") or stream.isatty()))


def painted(text: str, style: Style, stream: TextIO) -> str:
    """Give a text in a style, or as it is where the stream has no colours."""
    return f"\033[{_CODES[style]}m{text}\033[0m" if text and has_colour(stream) else text


def tell_line(message: object, *, style: Style | None = None, who: str = "fewshot") -> None:
    """Write one line to standard error, whatever line breaks the message has."""
    text = " ".join(shown(message).split())
    print(f"{who}: {painted(text, style, sys.stderr) if style else text}", file=sys.stderr)
