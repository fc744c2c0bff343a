"""What a caller gives, checked where it comes in: inputs, whole numbers, names."""

from __future__ import annotations

import difflib
import enum
import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from numbers import Real
from typing import Any, TypeVar
from uuid import UUID

from fewshot.errors import FewshotError, InputError

__all__ = [
    "REQUIRED",
    "brief",
    "by_name",
    "called",
    "check_count",
    "check_function",
    "check_kind",
    "check_number",
    "check_shots",
    "checked_input",
    "counts",
    "did_you_mean",
    "placeholders",
    "plain_input",
]

T = TypeVar("T")
REQUIRED = ...
"""Stands for "no default" among the inputs of a task."""
_MAX_INPUT = 2_000_000
_MOST_SHOWN = 80
_NEAR = 0.7
"""How like a name must be to be held for the one that is meant."""


def check_count(name: str, value: Any, *, least: int, most: int | None = None) -> None:
    """Raise `InputError` for anything but a whole number in a range; numpy's are as good as Python's."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name}={brief(value)}: must be a whole number", field=name) from None
    if number < least:
        raise InputError(f"{name}={brief(value)}: must be {least} or more", field=name)
    if most is not None and number > most:
        raise InputError(f"{name}={brief(value)}: must be {most:,} or less", field=name)


def counts(name: str, value: Any, *, least: int) -> list[int]:
    """Give one whole number or several as a list; raises `InputError` where one is not such a number, or for none."""
    several = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    if not several:
        raise InputError(f"{name}={value!r}: give one number or several", field=name)
    for one in several:
        check_count(name, one, least=least)
    return several


def checked_input(task: str, name: str, value: Any, *, optional: bool) -> Any:
    """Give a value as the input `name`: dates and Decimals as text, lists and dicts as those of JSON.

    Raises:
        InputError: it cannot be an input.
    """
    if value is REQUIRED:
        raise InputError(f"{task} needs the input {name!r}", field=name)
    if value is None and optional:
        return None
    if value is None or isinstance(value, bool | tuple | set | frozenset):
        what = "None" if value is None else f"a {type(value).__name__}"
        raise InputError(f"{name} must be text, not {what}", field=name)
    try:
        given = plain_input(name, value)
    except RecursionError:
        raise InputError(f"{name} is nested too deep", field=name) from None
    if given in ([], {}) or (isinstance(given, str) and not given.strip()):
        raise InputError(f"{name} is empty; give it some text", field=name)
    if (length := len(given if isinstance(given, str) else repr(given))) > _MAX_INPUT:
        raise InputError(f"{name} has {length:,} characters; the limit is {_MAX_INPUT:,}", field=name)
    return given


def plain_input(name: str, value: Any) -> Any:
    """Give a value, and all in it, in the types of JSON; raises InputError for what has no place there."""
    if type(value) is str:
        return value
    if hasattr(value, "tolist"):  # of NumPy
        value = value.tolist()
    if isinstance(value, float | Decimal | date) and value != value:  # what data frames have in empty cells
        raise InputError(f"{name} must be text, not NaN", field=name)
    if isinstance(value, enum.Enum):
        return plain_input(name, value.value)
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain_input(name, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_input(name, inner) for inner in value]
    message = f"{name} must be text, a number, a date, a list or a dict, not a {type(value).__name__}"
    raise InputError(message, field=name)


def placeholders(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Give for each input what stands in for it: its default, or `<name>`."""
    return {name: f"<{name}>" if default is REQUIRED else default for name, default in inputs.items()}


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Give ` (did you mean 'x'?)` for a near miss, else nothing."""
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=_NEAR)
    return f" (did you mean {near[0]!r}?)" if near else ""


def check_kind(name: str, value: object, *kinds: type, what: str) -> None:
    """See that an argument is of one of these kinds; raises InputError that says what to give."""
    if not isinstance(value, kinds):
        raise InputError(f"{name}={brief(value)}: give {what}", field=name)


def by_name(names: list[str], args: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the inputs of a call by name; raises InputError where one is given by its place and by its name."""
    for name in names[: len(args)]:
        if name in given:
            raise InputError(f"{name} is given twice, by its place and by its name: give it once", field=name)
    return {**dict(zip(names, args, strict=False)), **given}


def check_shots(examples: object) -> None:
    """See that examples are many; raises InputError for a path, a frame or a dict, whose parts are not examples."""
    check_kind("examples", examples, Iterable, what="pairs or dicts of inputs and output")
    if isinstance(examples, str | bytes | Mapping) or hasattr(examples, "columns"):
        what = f"examples is a {type(examples).__name__}: give pairs (input, output)"
        raise InputError(f"{what}, or what `examples_from` makes of a file or a data frame", field="examples")


def check_function(name: str, value: object, arguments: int) -> None:
    """See that an argument is a function of so many arguments, or None; raises InputError that says what to give."""
    try:
        if value is None or (callable(value) and inspect.signature(value).bind(*[None] * arguments)):
            return
    except (TypeError, ValueError):
        pass
    many = "one argument" if arguments == 1 else f"{arguments} arguments"
    raise InputError(f"{name}={brief(value)}: give a function of {many}", field=name)


def called(name: str, function: Callable[..., T], *given: Any) -> T:
    """Call a function of the caller's own; raises InputError, which names the argument, where it fails."""
    try:
        return function(*given)
    except FewshotError:
        raise
    except Exception as error:
        who = getattr(function, "__name__", type(function).__name__)
        raise InputError(f"{name}: {who} failed ({type(error).__name__}: {error!s:.80})", field=name) from error


def check_number(name: str, value: object, what: str) -> None:
    """See that an argument is a number, and not True or NaN; raises InputError that says what to give."""
    if isinstance(value, bool) or not isinstance(value, Real | Decimal) or value != value:
        raise InputError(f"{name}={brief(value)}: give {what}", field=name)


def brief(value: object) -> str:
    """Show the beginning of a value as code, or its type where it cannot be shown."""
    try:
        shown = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"
