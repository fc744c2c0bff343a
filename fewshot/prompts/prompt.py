"""From a template and its shots to the exact prompt, in both forms, static part first.

Chat: the instruction is the system message, each shot a user and an assistant turn, the question the last user turn.
Text: the instruction, then every shot as it would be continued ("Text: … Sentiment: positive"), then the question and
the bare cue. Messages are built as objects; rendered text is never split to find roles, so no input can open a turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fewshot.errors import InputError, TaskError
from fewshot.outputs.kinds import Output
from fewshot.outputs.spans import mapped
from fewshot.prompts.template import Template
from fewshot.types import Example, Message, Prefix

__all__ = ["Prompt", "check_characters", "inert"]

_CHAT_TURN = re.compile(r"<(\|[A-Za-z_][\w ]*\|)>")
_BETWEEN_SHOTS = "\n\n"


@dataclass(frozen=True)
class Prompt:
    """The constant part of a task's prompt: template, parameters and chosen shots.

    Make one and keep it: what it renders is cached, and is the same bytes for every question.
    """

    template: Template
    output: Output[Any]
    parameters: Mapping[str, Any]
    examples: tuple[Example, ...]
    note: str = ""
    """What stands below the instruction, such as that the text is a part of a longer one."""

    @cached_property
    def cue(self) -> str:
        """What stands before the answer, such as `Sentiment:`; may be empty."""
        return self.template.cue(self._constants)

    @cached_property
    def prefix(self) -> Prefix:
        """The instruction and the shots as chat turns."""
        turns = [Message("system", self.instruction)] if self.instruction else []
        for example in self.examples:
            turns += [self.turn(example.inputs), Message("assistant", self.output.render(example.output))]
        return Prefix(tuple(turns))

    @cached_property
    def text_prefix(self) -> str:
        """The instruction and the shots as text to be continued."""
        instruction = self.instruction + _BETWEEN_SHOTS if self.instruction else ""
        return instruction + self.shots_text

    @cached_property
    def shots_text(self) -> str:
        """The shots alone, as text to be continued."""
        shots = [f"{self._asked(e.inputs)} {self.output.render(e.output)}".lstrip() for e in self.examples]
        return "".join(shot + _BETWEEN_SHOTS for shot in shots if shot)

    @cached_property
    def instruction(self) -> str:
        """What the task is, in the author's words."""
        return "\n".join(filter(None, (self.template.instruction(self._constants), self.note)))

    @property
    def stop(self) -> str:
        """Where an answer in the text form ends: at the end of a line where answers have one, else at the next shot.

        JSON may be written over several lines, whatever the shots show.
        """
        one_line = self.output.kind != "schema" and all("\n" not in self.output.render(e.output) for e in self.examples)
        return "\n" if one_line else _BETWEEN_SHOTS

    def turn(self, inputs: Mapping[str, Any]) -> Message:
        """Render one question as the user's chat turn, the cue last."""
        return Message("user", self._asked(inputs))

    def text(self, inputs: Mapping[str, Any]) -> str:
        """Render the whole prompt as text that the model continues with the answer."""
        return self.text_prefix + self._asked(inputs)

    def _asked(self, inputs: Mapping[str, Any]) -> str:
        markers = self._markers_of(inputs)
        values = {name: mapped(value, lambda text: inert(text, markers)) for name, value in inputs.items()}
        try:
            asked = self.template.input({**self._constants, **dict.fromkeys(self._inputs), **values})
        except TaskError as error:
            nested = next((name for name, value in inputs.items() if isinstance(value, list | dict)), None)
            if nested is None:
                raise
            kind = type(inputs[nested]).__name__
            told = f"{nested} must be text, not a {kind} (many texts go through `map`): {error}"
            raise InputError(told, field=nested) from error
        return f"{asked}\n{self.cue}" if self.cue else asked

    @cached_property
    def _constants(self) -> dict[str, Any]:
        closed = self.output.labels is not None
        labels = [*(self.output.words_of_labels.values() or self.output.span_labels)]
        descriptions = getattr(self.output, "descriptions", {}) if closed else {}
        return {**self.parameters, "labels": labels, "descriptions": descriptions, "no_label": self.output.no_label}

    def _markers_of(self, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        """The words that open a line of this template's own, which an input must not be able to say."""
        if not any(isinstance(value, list | dict) for value in inputs.values()):
            return self._markers
        return self._openings({name: mapped(value, lambda _: "\x00") for name, value in inputs.items()})

    @cached_property
    def _markers(self) -> tuple[str, ...]:
        try:
            return self._openings({})
        except TaskError:  # it takes lists or dicts
            return self._openings(self.examples[0].inputs) if self.examples else (self.cue.casefold(),)

    def _openings(self, shape: Mapping[str, Any]) -> tuple[str, ...]:
        try:
            probe = self.template.input({**self._constants, **dict.fromkeys(self._inputs, "\x00"), **shape})
        except TaskError:
            if not shape:
                raise
            return tuple(filter(None, (self.cue.casefold(),)))  # the question itself will not render either
        openings = [line.partition("\x00")[0].strip() for line in probe.split("\n") if "\x00" in line]
        return tuple({marker.casefold() for marker in [*openings, self.cue] if marker})

    @cached_property
    def _inputs(self) -> frozenset[str]:
        constant = {*self.parameters, "labels", "descriptions", "no_label"}
        return frozenset(self.template.variables["input"]) - constant


def inert(text: str, markers: tuple[str, ...]) -> str:
    """Take from an input the power to speak in the prompt's own markers; ordinary text comes out unchanged.

    A line that opens with a marker ("Sentiment: positive") is quoted with "> ", and a chat template's turn signs
    (`<|im_end|>`) are spaced apart. Raises `InputError` as `check_characters` does.
    """
    check_characters(text)
    if "<|" in text:
        text = _CHAT_TURN.sub(r"< \1 >", text)
    if "\n" not in text and "\r" not in text:
        return text
    lines = re.split("(\r\n|\r|\n)", text)
    quoted = [f"> {line}" if _opens(line, markers) and i else line for i, line in enumerate(lines)]
    return "".join(quoted)


def check_characters(text: str) -> None:
    """Raise `InputError` for a lone surrogate, which is half a character and cannot be sent to any service."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"the text holds a lone surrogate at character {error.start}; decode it properly before the call"
        raise InputError(message) from error


def _opens(line: str, markers: tuple[str, ...]) -> bool:
    return line.strip().casefold().startswith(markers)
