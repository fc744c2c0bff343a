"""Files that are more than lines: JSON in all its shapes, YAML, Excel, Parquet and Arrow, as records one by one."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from fewshot._environment import missing
from fewshot.errors import InputError

__all__ = ["READERS", "class_names", "header", "json_records", "padded"]

_GROUP = 1024
_LISTS = (
    "data",
    "rows",
    "records",
    "examples",
    "items",
    "instances",
    "results",
    "tests",
    "test",
    "train",
    "dev",
    "val",
)
"""Names under which a document holds its records."""


# -- tables ---------------------------------------------------------------------------------------------------------


def header(cells: Sequence[Any], where: str) -> list[str]:
    """Give the names of a table's columns, without blanks round them; raises InputError where two are the same."""
    names = ["" if cell is None else str(cell).strip().lstrip("\ufeff") for cell in cells]
    while names and not names[-1]:
        del names[-1]
    names = [name or f"column {place}" for place, name in enumerate(names, start=1)]
    _refuse_doubles(names, where)
    return names


def _refuse_doubles(names: Iterable[str], where: str) -> None:
    for name, count in Counter(name.casefold() for name in names).items():
        if count > 1:
            raise InputError(f"{where}: the column {name!r} is there {count} times: rename or remove all but one")


def padded(cells: Sequence[Any], names: Sequence[str]) -> list[Any] | str:
    """Give the cells of a row without surplus blank ones; none where all are blank, or what is wrong with them."""
    filled = len(cells)
    while filled and (cells[filled - 1] is None or not str(cells[filled - 1]).strip()):
        filled -= 1
    if not filled:
        return []
    if filled > len(names):
        return f"has {filled} cells where the header has {len(names)}: quote a text that holds the delimiter"
    if len(cells) < len(names):
        return f"has {len(cells)} cells where the header has {len(names)}: give every row all of them"
    return list(cells[: len(names)])


def _rows(cells: Iterable[Sequence[Any]], where: str) -> Iterator[tuple[int, Any]]:
    """Give the rows of a sheet, whose first one that is not blank holds the names."""
    names: list[str] = []
    for number, row in enumerate(cells, start=1):
        if not names:
            names = header(row, where)
            continue
        found = padded(row, names)
        if found:
            is_row = isinstance(found, list)
            fault = f"{where}: row {number} {found}"
            yield number, dict(zip(names, found, strict=True)) if is_row else InputError(fault)


# -- JSON -----------------------------------------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key is there twice: {Counter(key for key, _ in pairs).most_common(1)[0][0]!r}")
    return found


def _constant(name: str) -> None:
    if name != "NaN":  # as pandas writes an empty cell
        raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)


def json_records(text: Iterable[str], where: str, *, lines: bool = False) -> Iterator[tuple[int, Any]]:
    """Read JSON lines; or one document of records, or objects one after another, if the first line shows that.

    Arguments:
        lines: the file is said to be one of lines, so that an object on its one line is a record.
    """
    try:
        yield from _json_records(text, where, lines=lines)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        told = f"is JSON that does not hold records as it says ({type(error).__name__}: {error})"
        raise InputError(f"{where}: {told}; give a list of objects") from error


def _json_records(lines_: Iterable[str], where: str, *, lines: bool) -> Iterator[tuple[int, Any]]:
    numbered = enumerate(lines_, start=1)
    for number, line in numbered:  # noqa: B007
        start = line.strip(" \t\r\n")
        if start:
            break
    else:
        return
    first = _line(start, number, where)
    rest: list[str] = []
    if isinstance(first, InputError) or (isinstance(first, list) and not _is_pair(first)):
        rest = [text for _, text in numbered]
        whole = _document(line + "".join(rest), where, start[0] == "[" and not _stands_alone(start))
        if whole is not None:
            yield from whole
            return
        numbered = enumerate(rest, start=number + 1)
    second = next(((n, text) for n, text in numbered if text.strip(" \t\r\n")), None)
    if second is None and isinstance(first, dict) and not lines:
        yield from _unwrapped(first, where)
        return
    yield number, first
    if second is not None:
        yield second[0], _line(second[1].strip(" \t\r\n"), second[0], where)
    for number, line in numbered:
        if text := line.strip(" \t\r\n"):
            yield number, _line(text, number, where)


def _stands_alone(text: str) -> bool:
    try:
        _decoder.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _line(text: str, number: int, where: str) -> Any:
    """Read one line; what is wrong with it is given, not raised."""
    try:
        row = _decoder.decode(text.removesuffix(","))
    except (ValueError, RecursionError) as error:
        about = str(getattr(error, "msg", error)).removesuffix(" at")
        at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        if any("\ud800" <= sign <= "\udfff" for sign in text):
            return InputError(f"{where}:{number}: is not UTF-8 text")
        return InputError(f"{where}:{number}: is not valid JSON: {about}{at}")
    if not text.isascii() and any("\udc80" <= sign <= "\udcff" for sign in text):
        return InputError(
            f"{where}:{number}: is not UTF-8 text; save it as UTF-8, or name its encoding with --encoding"
        )
    return row


def _is_pair(row: list[Any]) -> bool:
    """Tell a row that is a text and what is said of it, as spaCy's training data are."""
    return len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], dict)


def _document(text: str, where: str, must: bool) -> Iterator[tuple[int, Any]] | None:
    """Read a document, or objects one after another; None if it is neither, and raise where it must be."""
    values, place = [], 0
    try:
        while place < len(text):
            value, place = _decoder.raw_decode(text, place)
            values.append(value)
            place = re.compile(r"[\s,]*").match(text, place).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError) as error:
        if not must and not values:
            return None
        if not must and "\n" not in text[: text.find("}")]:
            return None
        line = getattr(error, "lineno", 1)
        raise InputError(f"{where}:{line}: is not valid JSON: {getattr(error, 'msg', error)}") from error
    if len(values) == 1:
        return _unwrapped(values[0], where)
    if all(isinstance(value, list) for value in values):
        return None
    return enumerate(values, start=1)


def _unwrapped(value: Any, where: str) -> Iterator[tuple[int, Any]]:
    """Find the records in a document: a list, a list under one name, a viewer's page, or pandas' columns."""
    if isinstance(value, list):
        return enumerate(value, start=1)
    if not isinstance(value, dict):
        raise InputError(f"{where}: must hold records, not one {type(value).__name__}")
    if isinstance(value.get("rows"), list) and isinstance(value.get("features"), list):
        return _viewed(value, where)
    if set(value) >= {"columns", "data"} and isinstance(value["columns"], list):  # pandas, orient="split"
        names = header(value["columns"], where)
        return enumerate((dict(zip(names, row, strict=True)) for row in value["data"]), start=1)
    if value and all(isinstance(column, dict) for column in value.values()):
        return _pandas(value)
    if any(isinstance(value.get(name), str) for name in ("text", "input", "question", "query", "sentence")):
        return enumerate([value], start=1)
    lists = {name: rows for name, rows in value.items() if _are_records(rows) and name.casefold() in _LISTS}
    if len(lists) > 1:
        raise InputError(f"{where}: holds {', '.join(lists)}: put the one that is meant into a file of its own")
    if lists:
        (rows,) = lists.values()
        if all("paragraphs" in row for row in rows):
            return enumerate(_squad(rows), start=1)
        return enumerate(rows, start=1)
    columns = list(value.values())
    if len(columns) > 1 and all(isinstance(c, list) and len(c) == len(columns[0]) for c in columns):
        rows = (dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True))
        return enumerate(rows, start=1)
    return enumerate([value], start=1)


def _are_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _pandas(value: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[int, Any]]:
    """Read what `DataFrame.to_json` writes: columns of an index, or rows by it."""
    inner = dict.fromkeys(key for part in value.values() for key in part)
    if all(re.fullmatch(r"-?\d+", key) for key in inner):
        return enumerate(({name: column.get(key) for name, column in value.items()} for key in inner), start=1)
    if all(re.fullmatch(r"-?\d+", key) for key in value):
        return enumerate(value.values(), start=1)
    return enumerate([value], start=1)


def _viewed(value: Mapping[str, Any], where: str) -> Iterator[tuple[int, Any]]:
    kinds = {feature["name"]: feature.get("type") for feature in value["features"]}
    names = class_names(kinds)
    for place, row in enumerate(value["rows"], start=1):
        if row.get("truncated_cells"):
            cut = ", ".join(row["truncated_cells"])
            yield place, InputError(f"{where}: row {place}: the viewer has cut {cut}: download the data set instead")
        else:
            yield place, named(row["row"], names)


def _squad(articles: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for paragraph in (paragraph for article in articles for paragraph in article["paragraphs"]):
        for asked in paragraph["qas"]:
            answers = list(dict.fromkeys(answer["text"] for answer in asked.get("answers", ())))
            row = {"id": asked.get("id"), "question": asked["question"], "context": paragraph["context"]}
            yield {**row, "answers": answers}


def class_names(features: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """Give the names of the labels that Hugging Face data sets keep as numbers, by column."""
    found = {}
    for name, feature in (features or {}).items():
        while inner := feature.get("feature") if isinstance(feature, Mapping) else getattr(feature, "feature", None):
            feature = inner
        names = feature.get("names") if isinstance(feature, Mapping) else getattr(feature, "names", None)
        if isinstance(names, list):
            found[name] = names
    return found


def named(row: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Put the names of labels in the place of their numbers; -1, which stands for no label, is None."""
    return {key: _named(value, names[key]) if key in names else value for key, value in row.items()}


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return (names[value] if 0 <= value < len(names) else None) if isinstance(value, int) else value


# -- files that a library reads ---------------------------------------------------------------------------------------


def _arrow(file: IO[bytes], where: str) -> Iterator[tuple[int, Any]]:
    try:
        from pyarrow import ArrowException, ipc, parquet
    except ImportError as error:
        raise missing("Parquet and Arrow files need an extra", "bulk") from error
    try:
        start = file.read(6)
        file.seek(0)
        if start.startswith(b"PAR1"):
            opened = parquet.ParquetFile(file)
            schema, batches = opened.schema_arrow, opened.iter_batches(batch_size=_GROUP)
        else:
            opened = ipc.open_file(file) if start == b"ARROW1" else ipc.open_stream(file)
            is_file = start == b"ARROW1"
            schema = opened.schema
            batches = (opened.get_batch(i) for i in range(opened.num_record_batches)) if is_file else iter(opened)
        _refuse_doubles(schema.names, where)
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = class_names(about.get("info", {}).get("features"))
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from enumerate((named(row, names) for row in rows) if names else rows, start=1)
    except InputError:
        raise
    except (ArrowException, AttributeError, OSError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{where} cannot be read as Parquet or Arrow: {error}") from error


def _yaml(file: IO[bytes], where: str) -> Iterator[tuple[int, Any]]:
    try:
        import yaml
    except ImportError as error:
        raise missing("YAML files need an extra", "files") from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """YAML 1.2's plain values: `no`, `on` and a date are texts, as whoever wrote the label meant."""

        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's way

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):  # a few lines of them stand for more than a memory holds
                event = self.peek_event()
                problem = f"*{event.anchor} stands for what is written elsewhere: write it out"
                raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
            if double := next((key for key in keys if keys.count(key) > 1), None):
                raise yaml.constructor.ConstructorError(None, None, f"{double!r} is there twice", node.start_mark)
            return super().construct_mapping(node, deep)

    for kind, pattern, first in (
        ("null", r"~|null|", ["~", "n", ""]),
        ("bool", r"true|false", ["t", "f"]),
        ("int", r"-?(?:0|[1-9][0-9]*)", list("-0123456789")),
        ("float", r"-?(?:0|[1-9][0-9]*)\.[0-9]+", list("-0123456789")),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), first)
    try:
        documents = list(yaml.load_all(file.read(), Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{where}{line}: is not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if len(documents) == 1 and isinstance(documents[0], str):
        raise InputError(f"{where}: holds a text; give a list of records")
    for value in documents:
        yield from _unwrapped(value, where)


def _excel(file: IO[bytes], where: str) -> Iterator[tuple[int, Any]]:
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError as error:
        raise missing(f"{where}: Excel files need an extra", "files", "save the sheet as CSV") from error
    try:
        book = CalamineWorkbook.from_filelike(file)
        sheets = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
    except (CalamineError, OSError, ValueError) as error:
        raise InputError(f"{where} cannot be read as an Excel file: {error}") from error
    filled = {name: rows for name, rows in sheets.items() if rows}
    if len(filled) > 1:
        raise InputError(f"{where}: has several sheets ({', '.join(filled)}): save the one that is meant by itself")
    for rows in filled.values():
        yield from _rows((list(map(_cell, row)) for row in rows), where)


def _cell(value: Any) -> Any:
    """Give a number that has no fraction as a whole one: Excel knows only the other kind."""
    if isinstance(value, float) and value.is_integer() and math.isfinite(value):
        return int(value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


READERS: Mapping[str, Callable[[IO[bytes], str], Iterator[tuple[int, Any]]]] = {
    ".parquet": _arrow,
    ".pq": _arrow,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".xlsx": _excel,
    ".xlsm": _excel,
    ".xls": _excel,
    ".xlsb": _excel,
    ".ods": _excel,
}
