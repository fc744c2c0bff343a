"""Options as data: what each takes, its range, its meaning, and other words for it; one check for all of them.

A frozen dataclass declares its fields with `setting(...)`; `Settings` and a bulk run's `Plan` do.
"""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

from fewshot._checks import brief, did_you_mean
from fewshot.errors import InputError

__all__ = ["Setting", "check_all", "check_changes", "meant", "setting", "synonym", "table"]

_LABELS = ("labels", "classes", "choices", "categories")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one option takes and means; what cannot be is refused in these words."""

    kind: str
    """Its type, one of `_KINDS`."""
    default: Any
    meaning: str
    least: float | None = None
    most: float | None = None
    above: float | None = None
    also: tuple[float, ...] = ()
    """Numbers outside the range that mean something."""
    choices: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    """Other words for it: other libraries' names, which spelling alone does not bring near."""
    secret: bool = False
    """Whether it may hold a key: then it is neither shown nor kept."""
    decides: bool = True
    """Whether it can change an answer."""
    in_folder: bool = True
    """Whether a task folder may set it."""
    by_field: bool = False
    """Whether it may be given for each field of a record by name."""

    @property
    def type(self) -> str:
        """What it takes, in words, without its range."""
        return f"one of {', '.join(self.choices)}" if self.choices else _KINDS[self.kind][1]

    @property
    def range(self) -> str:
        """The range of a number in words, or nothing."""
        if self.above is not None:
            return f"above {self.above:g}"
        if self.least is not None and self.most is not None:
            return f"from {self.least:g} to {self.most:g}"
        return "" if self.least is None else f"{self.least:g} or more"

    def read(self, name: str, value: Any) -> Any:
        """Give a value as it is kept; raises InputError, which names the field, for one that it does not take."""
        if value is None and self.default is None:
            return None
        if self.by_field and isinstance(value, Mapping) and value:
            if any(each is None or isinstance(each, Mapping) for each in value.values()):
                raise self._refusal(name, value, f"{self.type} for each field")
            return {str(field): self.read(name, each) for field, each in value.items()}
        try:
            kept = _KINDS[self.kind][0](value)
            good = not self.choices or kept in self.choices
        except (TypeError, ValueError, OverflowError, RecursionError):
            good = False
        if not good:
            raise self._refusal(name, value, self.type)
        if self.range and kept not in self.also and not self._holds(kept):
            raise self._refusal(name, value, self.range)
        return kept

    def from_text(self, name: str, text: str) -> Any:
        """Read a value from the command line, where `null` is None; raises InputError."""
        if text == "null" and self.default is None:
            return None
        try:
            return self.read(name, _FROM_TEXT.get(self.kind, str)(text))
        except (ValueError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise self._refusal(name, text, self.type) from None

    def _holds(self, number: float) -> bool:
        low, high = -math.inf if self.least is None else self.least, math.inf if self.most is None else self.most
        return low <= number <= high and (self.above is None or number > self.above)

    def _refusal(self, name: str, value: object, wanted: str) -> InputError:
        verb = " is not" if wanted.startswith("one of ") else ": must be"
        return InputError(f"{name}{'' if self.secret else f'={brief(value)}'}{verb} {wanted}", field=name)


def setting(kind: str, default: Any, meaning: str, **more: Any) -> Any:
    """Declare a field of a frozen dataclass as an option; see `Setting`."""
    about = Setting(kind=kind, default=default, meaning=meaning, **more)
    hidden = about.secret or kind in ("any", "redact")
    metadata = {"setting": about}
    if about.by_field or kind in ("json", "texts by name", "values by name"):
        return field(default=default, hash=False, repr=not hidden, metadata=metadata)
    return field(default=default, repr=not hidden, compare=kind not in ("any", "redact"), metadata=metadata)


@cache
def table(options: Any) -> Mapping[str, Setting]:
    """Give the options that a dataclass declares, each under its name."""
    return {f.name: f.metadata["setting"] for f in fields(options) if "setting" in f.metadata}


def check_all(options: Any) -> None:
    """Check every option of a dataclass and put it into the form in which it is kept; raises InputError."""
    for name, about in table(options.__class__).items():
        object.__setattr__(options, name, about.read(name, getattr(options, name)))


def meant(name: str, known: Mapping[str, Setting], others: Iterable[str] = ()) -> str:
    """Give ` (did you mean 'x'?)` for another word for an option or a slip in spelling one, else nothing."""
    if name.lower() in _LABELS:
        return ": labels are the output of a task, as in Task.of(instruction, ['yes', 'no'])"
    option = synonym(name, known)
    return f" (did you mean {option!r}?)" if option else did_you_mean(name.lower(), [*known, *others])


def check_changes(changes: Mapping[str, Any], known: Mapping[str, Setting], parameters: Mapping[str, Any]) -> None:
    """Raise InputError for a change of what is neither a setting nor a parameter, or of a parameter to nothing."""
    for name, value in changes.items():
        if name not in parameters and name not in known:
            raise InputError(f"unknown option {name!r}{meant(name, known, parameters)}", field=name)
        if value is None and parameters.get(name) is not None:
            raise InputError(f"{name}=None: give {name} a value, or leave it out", field=name)


def synonym(name: str, known: Mapping[str, Setting]) -> str:
    """Give the option for which a name is another word, or that it spells in another way; or nothing."""
    word = name.lower().replace("-", "_")
    return next((option for option, about in known.items() if word == option or word in about.near), "")


# -- the types of options: how a value is read, and what it is called in a message -----------------------------------


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    return operator.index(_no_flag(value))  # numpy's are as good as Python's


def _flag_or_several(value: Any) -> bool | int:
    if not isinstance(value, bool) and _whole(value) < 2:
        raise ValueError
    return value if isinstance(value, bool) else _whole(value)


def _number(value: Any) -> float:
    if not isinstance(_no_flag(value), Real | Decimal) or math.isnan(value):
        raise TypeError
    return float(value)


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise TypeError
    return value


def _price(value: Any) -> tuple[float, float]:
    if isinstance(value, str | bytes | Mapping):
        raise TypeError
    given, taken = map(_number, value)
    if not (0 <= given < math.inf and 0 <= taken < math.inf):
        raise ValueError
    return given, taken


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # half a character is a ValueError
    return value


def _texts(value: Any) -> tuple[str, ...]:
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, list | tuple) or not all(isinstance(one, str) and one for one in several):
        raise TypeError
    return tuple(several)


def _json(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) and name for name in value):
        raise TypeError
    own: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    return own


def _texts_by_name(value: Any) -> dict[str, str]:
    own = _json(value)
    if not all(isinstance(one, str) and not {"\r", "\n", "\0"} & {*name, *one} for name, one in own.items()):
        raise TypeError
    return own


def _values_by_name(value: Any) -> dict[str, Any]:
    own = _json(value)
    if not all(isinstance(one, str | int | float) for one in own.values()):
        raise TypeError
    return own


def _path(value: Any) -> Path:
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise TypeError
    return Path(value)


def _redact(value: Any) -> Any:
    if isinstance(value, bool | str) or callable(value):
        return value
    several = None if isinstance(value, bytes | Mapping) else tuple(value)
    if several is None or not all((isinstance(one, str) and one) or callable(one) for one in several):
        raise TypeError
    return several


_KINDS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "flag": (_flag, "True or False"),
    "whole": (_whole, "a whole number"),
    "flag or whole": (_flag_or_several, "True, False, or a whole number from 2 on"),
    "number": (_number, "a number"),
    "price": (_price, "two numbers, 0 or more"),
    "text": (_text, "a text"),
    "texts": (_texts, "a text or a list of texts, none of them empty"),
    "json": (_json, "a dict that JSON can hold"),
    "texts by name": (_texts_by_name, "a dict of texts without line ends"),
    "values by name": (_values_by_name, "a dict of texts and numbers"),
    "redact": (_redact, "True, False, names of patterns, or functions"),
    "path": (_path, "a path"),
    "any": (lambda value: value, "anything"),
}


def _flag_of(text: str) -> bool:
    return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]


_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "whole": int,
    "number": float,
    "flag": _flag_of,
    "flag or whole": lambda text: int(text) if text.isdecimal() else _flag_of(text),
    "price": lambda text: [float(part) for part in text.split(",")],
    "texts": lambda text: json.loads(text) if text.startswith("[") else text,
    "json": json.loads,
    "texts by name": json.loads,
    "values by name": json.loads,
    "redact": lambda text: _flag_of(text) if text.lower() in ("true", "yes", "false", "no") else text.split(","),
}
