"""Closed sets: one of some labels, or any of them."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar

from fewshot._checks import brief
from fewshot._wording import distinct_fold, drop_cue, json_in, tidy
from fewshot.errors import InputError, OutputError
from fewshot.outputs.labels import LabelReader
from fewshot.outputs.output import Kind, Output, json_text
from fewshot.outputs.strict_schema import answer_schema
from fewshot.result import label_of

__all__ = ["LabelSet", "Labels", "groups_of", "labels_of"]


@dataclass(frozen=True)
class Labels(Output[str]):
    """One of a closed set of labels.

    Attributes:
        labels: the labels, in the order in which they are shown.
        words: for a label the word that stands for it in the prompt and in the answer (its verbalizer).
        descriptions: for a label what it means.
        values: for a label what a call gives, where that is not the label itself: an enum's member, a boolean.
        groups: the labels of each group, where they stand in a tree of two levels.
        codes: for a label the letter that its word begins with and that stands for it by itself, as the prompt shows.
    """

    labels: tuple[str, ...]
    words: Mapping[str, str] = field(default_factory=dict, hash=False)
    descriptions: Mapping[str, str] = field(default_factory=dict, hash=False)
    values: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False, repr=False)
    codes: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    kind: ClassVar[Kind] = "labels"

    def __post_init__(self) -> None:
        # A frozen value keeps its own copies.
        object.__setattr__(self, "labels", tuple(self.labels))
        for name in ("words", "descriptions", "values", "groups"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        if not self.labels:
            raise InputError("an output needs at least one label")
        for label in self.labels:
            if not isinstance(label, str) or not tidy(label):
                raise InputError(f"a label must be a text that is not blank, not {label!r}")
        for name in ("words", "descriptions", "values"):
            unknown = next((key for key in getattr(self, name) if key not in self.labels), None)
            if unknown is not None:
                raise InputError(f"`{name}` names {unknown!r}, which is none of the labels: {_listed(self.labels)}")
        shown = [self.word(label) for label in self.labels]
        twice = next((word for word in shown if not word or shown.count(word) > 1), None)
        if twice is not None:
            raise InputError(f"two labels cannot be told apart: {twice!r}" if twice else "a label's word is blank")

    def word(self, label: str) -> str:
        """Give the word that stands for a label in the prompt: without blanks round it, its characters composed."""
        return tidy(self.words.get(label, label))

    @cached_property
    def _reader(self) -> LabelReader:
        return LabelReader({label: self.word(label) for label in self.labels}, self.codes)

    def parse(self, text: str, *, cue: str = "") -> str:
        """Read a label; raises OutputError for none, several, or one that is denied."""
        literal = self._reader.literal.get(text)
        return self._reader.read(text, cue) if literal is None else literal

    def render(self, value: object) -> str:
        """Give the word of a label."""
        return self.word(self.check(value))

    def check(self, value: object) -> str:
        """Take a label, the value that it was made of, or either as a file or a data frame writes it.

        Case and spacing do not count where the labels stay distinct without them (`POSITIVE `), nor does a fraction of
        zero (`5.0`); for the labels true and false the words that pydantic reads as booleans count too (`1`, `no`).
        """
        value = value.item() if hasattr(value, "item") else value  # a scalar of NumPy
        if isinstance(value, str | int | float | Decimal | enum.Enum) and value == value:  # not NaN
            label = label_of(value)
            if label in self.labels:
                return label
            by_form, same = self._forms
            whole = re.sub(r"(?<=\d)\.0+$", "", same(tidy(label)))
            found = by_form.get(same(tidy(label)), by_form.get(whole))
            if found is None and by_form.keys() == {"true", "false"}:
                found = by_form.get(_truth_of(whole))
            if found is not None:
                return found
        given = label_of(value) if isinstance(value, enum.Enum) else value
        raise InputError(f"{brief(given)} is none of the labels: {_listed(self.labels)}")

    @cached_property
    def _forms(self) -> tuple[dict[str, str], Callable[[str], str]]:
        """The labels by the form in which they are compared, and what brings a text into that form."""
        same = distinct_fold(map(tidy, self.labels))
        return {same(tidy(label)): label for label in self.labels}, same

    def value(self, found: Any) -> Any:
        """Give the value that a label stands for."""
        return self.values.get(found, found)

    def by_group(self, probabilities: Mapping[str, float] | None) -> dict[str, float] | None:
        """Give the probability of each group: those of its labels together; None without groups or probabilities."""
        if not self.groups or probabilities is None:
            return None
        return {group: math.fsum(probabilities.get(la, 0.0) for la in of) for group, of in self.groups.items()}

    def group_for(self, found: str, probabilities: Mapping[str, float] | None, least: Any) -> str | None:
        """Give the group of a label; or, where `least` is given, the likeliest group if it is as probable as that."""
        if least is None:
            return next((group for group, of in self.groups.items() if found in of), None)
        shares = self.by_group(probabilities) or {}
        return max((group for group, share in shares.items() if share >= least), key=shares.__getitem__, default=None)

    def by_value(self, probabilities: Mapping[str, float] | None) -> dict[Any, float] | None:
        """Give probabilities of labels under the values that these stand for."""
        return None if probabilities is None else {self.values.get(la, la): p for la, p in probabilities.items()}

    def schema(self) -> str | None:
        """Give the schema of `{"label": …}` with the words as its enum."""
        words = [self.word(label) for label in self.labels]
        strict = answer_schema("label", {"type": "string", "enum": words})
        return None if strict is None else json_text(strict)

    def parse_json(self, text: str) -> str:
        """Read `{"label": …}`, or whatever else the answer is."""
        value = json_in(text)
        named = value.get("label") if isinstance(value, dict) else None
        label = self._reader.literal.get(named) if isinstance(named, str) else None
        return self.parse(text) if label is None else label


@dataclass(frozen=True)
class LabelSet(Output[tuple[str, ...]]):
    """Any of a closed set of labels, or none: each has a probability of its own.

    Within the package a value is a tuple of labels in their order, so that the order in which they are given or
    written does not count.

    Attributes:
        of: the labels.
        gives: what a call gives: a list in the order of the labels, or a set.
    """

    of: Labels
    gives: type[list[Any]] | type[set[Any]] | type[frozenset[Any]] = list
    kind: ClassVar[Kind] = "label_set"
    several: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", self.of.labels)

    @property
    def descriptions(self) -> Mapping[str, str]:
        """For a label what it means."""
        return self.of.descriptions

    @cached_property
    def words_of_labels(self) -> Mapping[str, str]:
        """How each label stands in a prompt and in an answer."""
        return self.of.words_of_labels

    @cached_property
    def longest_label(self) -> int:
        """Bytes of all labels written one after the other."""
        return sum(len(word.encode()) + 2 for word in self.words_of_labels.values())

    @cached_property
    def no_label(self) -> str:
        """What is written where no label fits."""
        taken = {word.casefold() for word in self.words_of_labels.values()}
        return next(word for word in ("none", "none of these", "(no label)", "[]") if word not in taken)

    @cached_property
    def sign(self) -> str:
        """What stands between two labels: the first of these signs that no label holds."""
        shown = "".join((*self.words_of_labels.values(), *self.of.labels))
        sign = next((sign for sign in ",;|/" if sign not in shown), None)
        if sign is None:
            raise InputError("the labels hold commas, semicolons, bars and slashes: leave one of these signs out")
        return sign

    def parse(self, text: str, *, cue: str = "") -> tuple[str, ...]:
        """Read labels parted by the sign, a line each, or as a JSON list; raises OutputError for anything else."""
        answer = drop_cue(tidy(text), cue)
        if not answer:
            message = f"the answer is empty; write {self.no_label!r} where no label fits"
            raise OutputError(message, reason="empty", raw=text)
        if self._says_none(answer):
            return ()
        value = json_in(answer)
        value = value.get("labels") if isinstance(value, dict) else value
        parts = value if isinstance(value, list) else re.split(rf"{re.escape(self.sign)}|\n", answer)
        found = [self._read(part, text) for part in parts if not isinstance(part, str) or part.strip()]
        return self._in_order(found)

    def parse_json(self, text: str) -> tuple[str, ...]:
        """Read `{"labels": [...]}`, or whatever else the answer is."""
        return self.parse(text)

    def _read(self, part: object, raw: str) -> str:
        if not isinstance(part, str):
            raise OutputError(f"the answer holds {part!r:.60}, which is not a label", raw=raw)
        try:
            return self.of.parse(part)
        except OutputError as error:
            what = str(error).partition("; answer with")[0]
            message = f"{what}; answer with any of: {', '.join(self.words_of_labels.values())}, or {self.no_label}"
            raise OutputError(message, reason=error.reason, raw=raw) from None

    def _says_none(self, text: str) -> bool:
        return text.strip(" .\"'`*").casefold() == self.no_label

    def _in_order(self, found: Iterable[str]) -> tuple[str, ...]:
        there = set(found)
        return tuple(label for label in self.of.labels if label in there)

    def render(self, value: object) -> str:
        """Write the words of the labels in their order; `none` where there are none."""
        between = f"{self.sign} " if self.sign in ",;" else f" {self.sign} "
        return between.join(map(self.of.word, self.check(value))) or self.no_label

    def check(self, value: object) -> tuple[str, ...]:
        """Take a list or a set of what `Labels` takes, or a text that lists them as a file does.

        An empty list and the word for none mean that no label fits; a blank text says nothing, and is refused.
        """
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, str):
            listed = json_in(value)
            if self._says_none(value):
                value = ()
            elif isinstance(listed, list):
                value = listed
            elif not value.strip():
                raise InputError(f"a blank text names no labels: write {self.no_label!r} or [] where none fits")
            else:
                value = self._parted(value)
        if not isinstance(value, list | tuple | set | frozenset):
            value = (value,)
        return self._in_order(self.of.check(label) for label in value)

    def _parted(self, text: str) -> tuple[str, ...]:
        """Part a text at the signs that files have between labels, where it is not a label itself."""
        known = {tidy(each).casefold() for each in (*self.of.labels, *self.words_of_labels.values())}
        if tidy(text).casefold() in known:
            return (text,)
        sign = next((sign for sign in (self.sign, ";", "|", ",") if sign in text), self.sign)
        return tuple(filter(None, map(str.strip, text.split(sign))))

    def value(self, found: Any) -> Any:
        """Give the values that labels stand for, as a list or a set."""
        return self.gives(map(self.of.value, found))

    def label_value(self, label: str) -> Any:
        """Give the value that one label stands for."""
        return self.of.value(label)

    def schema(self) -> str | None:
        """Give the schema of `{"labels": […]}` with the words as its enum."""
        items = {"type": "string", "enum": [*self.words_of_labels.values()]}
        strict = answer_schema("labels", {"type": "array", "items": items})
        return None if strict is None else json_text(strict)


def labels_of(values: Sequence[object]) -> Labels:
    """Make labels of the values that a call is to give; raises InputError for any but texts, numbers and booleans."""
    for value in values:
        if not isinstance(value.value if isinstance(value, enum.Enum) else value, str | int):
            raise InputError(f"a label must be a text, a whole number or a boolean, not {brief(value)}")
    return Labels(tuple(map(label_of, values)), values={label_of(v): v for v in values if type(v) is not str})


def groups_of(tree: Mapping[str, Any]) -> Labels:
    """Make labels of groups, each with the list of its labels; raises InputError for anything else."""
    for group, labels in tree.items():
        if not isinstance(group, str) or not tidy(group) or not isinstance(labels, list | tuple) or not labels:
            raise InputError(f"the group {group!r} must be a text with a list of labels, not {brief(labels)}")
    names = [label_of(label) for labels in tree.values() for label in labels]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"the label {twice!r} stands twice in the groups: name it in one of them")
    groups = {group: tuple(map(label_of, labels)) for group, labels in tree.items()}
    return replace(labels_of([label for labels in tree.values() for label in labels]), groups=groups)


def _truth_of(word: str) -> str:
    """Give `true` or `false` for a word that pydantic reads as a boolean, else nothing."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return label_of(TypeAdapter(bool).validate_python(word))
    except ValidationError:
        return ""


def _listed(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
