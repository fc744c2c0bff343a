"""What every kind of output can do: render a value into a prompt, read it out of an answer, check it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, TypeVar

from fewshot.outputs.fields import RecordField

__all__ = ["ANSWER", "NONE", "Kind", "Output", "json_text"]

T = TypeVar("T")
Kind = Literal["labels", "label_set", "text", "number", "schema"]
ANSWER, NONE = "answer", "none"
"""What a text that may be missing has probabilities of."""


class Output(ABC, Generic[T]):
    """What a task gives back: how to ask for it, read it and check it."""

    kind: ClassVar[Kind]
    labels: tuple[str, ...] | None = None
    """The labels, in their order, where the output is a closed set."""
    several: ClassVar[bool] = False
    """Whether any of the labels may be given at once, each with a probability of its own."""

    @cached_property
    def words_of_labels(self) -> Mapping[str, str]:
        """How each label stands in a prompt and in an answer; empty where the output is not a closed set."""
        return {label: self.render(label) for label in self.labels or ()}

    @cached_property
    def classes(self) -> tuple[str, ...] | None:
        """What it has probabilities of: its labels, or whether there is an answer; None for other outputs."""
        return self.labels or ((ANSWER, NONE) if getattr(self, "optional", None) else None)

    @cached_property
    def no_label(self) -> str:
        """What is written where none of several labels fits."""
        return "none"

    @cached_property
    def longest_label(self) -> int:
        """Bytes of the longest word of a label; 0 where there is none."""
        return max((len(word.encode()) for word in self.words_of_labels.values()), default=0)

    @cached_property
    def fields(self) -> tuple[RecordField, ...]:
        """The fields at the top of a record; none of other outputs."""
        return ()

    @cached_property
    def closed_fields(self) -> tuple[RecordField, ...]:
        """The fields of a record that hold one of a few values."""
        return tuple(field for field in self.fields if len(field.values) > 1)

    @property
    def parts(self) -> Mapping[str, Output[Any]]:
        """Of several outputs over one input each under its name; none of a single one."""
        return {}

    @cached_property
    def is_decided(self) -> bool:
        """Whether a decisions endpoint can give the whole of it: labels, or a record of closed fields alone."""
        return self.labels is not None or (bool(self.fields) and self.closed_fields == self.fields)

    @property
    def gives_what(self) -> str:
        """Its kind, or the name of its model, to be shown."""
        return str(getattr(getattr(self, "model", None), "__name__", self.kind))

    @abstractmethod
    def parse(self, text: str, *, cue: str = "") -> T:
        """Read the value out of an answer, past a repeated `cue`; raises OutputError when it is not plainly there."""

    @abstractmethod
    def render(self, value: object) -> str:
        """Write a value the way it stands in a prompt, as the output of a shot; raises InputError for a wrong value."""

    @abstractmethod
    def check(self, value: object) -> T:
        """Give the value that an example's output stands for; raises InputError (a ValueError) when it is none."""

    @property
    def span_labels(self) -> tuple[str, ...]:
        """The labels that spans can have, where the output is a list of spans."""
        return ()

    def check_for(self, value: object, inputs: Mapping[str, Any]) -> T:  # noqa: ARG002 - spans must stand in them
        """Give the value that stands for the right answer to these inputs; raises InputError when it is none."""
        return self.check(value)

    def placed(self, value: T, inputs: Mapping[str, Any]) -> tuple[T, tuple[str, ...]]:  # noqa: ARG002 - spans stand in them
        """Find where in the inputs the spans of an answer stand.

        Returns:
            The answer with their places, and the texts of those that were left out since they stand nowhere.

        Raises:
            OutputError: the answer cannot do without one of those.
        """
        return value, ()

    def value(self, found: Any) -> Any:
        """Give what a call gives for a value that was read."""
        return found

    def labels_in(self, found: Any) -> tuple[str, ...]:
        """Give the labels that a value which was read is made of."""
        return found if self.several else (found,)

    def label_value(self, label: str) -> Any:
        """Give the value that one label stands for."""
        return self.value(label)

    def by_group(self, probabilities: Mapping[str, float] | None) -> dict[str, float] | None:  # noqa: ARG002 - labels have them
        """Give the probability of each group of labels, where there are groups."""
        return None

    def group_for(self, found: Any, probabilities: Mapping[str, float] | None, least: Any) -> str | None:  # noqa: ARG002 - labels have them
        """Give the group of labels that an answer is of, or, held back, that is as probable as `least`."""
        return None

    def by_value(self, probabilities: Mapping[str, float] | None) -> dict[Any, float] | None:
        """Give probabilities of labels under the values that these stand for."""
        return None if probabilities is None else {self.label_value(la): p for la, p in probabilities.items()}

    def schema(self) -> str | None:
        """Give the strict JSON schema to send as `response_format`, as JSON text; None when there is none."""
        return None

    def parse_json(self, text: str) -> T:
        """Read the answer to a request that had the strict schema; the model may have ignored it."""
        return self.parse(text)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the fields only: what is worked out from them is worked out again."""
        return {
            name: value for name, value in self.__dict__.items() if name in getattr(self, "__dataclass_fields__", ())
        }


def json_text(value: object) -> str:
    """Write JSON in the fewest characters."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
