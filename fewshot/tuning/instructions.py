"""Other instructions for the same task, given by its author: each takes the place of the template's own block."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewshot.errors import InputError, TaskError
from fewshot.prompts.template import Template
from fewshot.task import Task

__all__ = ["FILE", "read_instructions", "with_instruction"]

FILE = "instructions.txt"
"""Where a task folder holds further instructions to try."""
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_BLOCK = re.compile(
    r"(\{%[-+]?\s*block\s+instruction\s*[-+]?%\})(.*?)(\{%[-+]?\s*endblock(?:\s+instruction)?\s*[-+]?%\})", re.DOTALL
)
_BETWEEN = re.compile(r"^---+[ \t]*$", re.MULTILINE)


def read_instructions(task: Task[Any], given: str | os.PathLike[str] | Iterable[str] | None) -> list[str]:
    """Read instructions to try.

    Arguments:
        given: a text file in which lines of `---` part one from the next, or a list of texts; by default the file
            `instructions.txt` in the task's folder, where there is one.

    Raises:
        InputError: the file cannot be read, or one of them is empty.
    """
    if given is None and task.path is not None and (task.path / FILE).is_file():
        given = task.path / FILE
    if given is None:
        return []
    if isinstance(given, os.PathLike | str):
        given = _BETWEEN.split(_read(Path(given)))
    texts = [text.strip() if isinstance(text, str) else "" for text in given]
    if not all(texts):
        raise InputError(f"instructions: text {texts.index('') + 1} is empty or no text", field="instructions")
    return texts


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"instructions: {path} cannot be read as a UTF-8 text file: {error}"
        raise InputError(message, field="instructions") from error


def with_instruction(task: Task[Any], text: str) -> Task[Any]:
    """Give the task with another instruction, which may use what the template's own may (`{{ labels }}`, parameters).

    Raises:
        InputError: the text is no valid template.
    """
    source = task.template.source
    bare = _COMMENT.sub(lambda comment: " " * len(comment[0]), source)
    block = _BLOCK.search(bare)
    if block is None:
        changed = f"{{% block instruction %}}{text}{{% endblock %}}\n{source}"
    else:
        changed = f"{source[: block.end(1)]}{text}{source[block.start(3) :]}"
    template = Template(changed, task.template.path)
    try:
        template.check(task.inputs, task.parameters)
    except TaskError as error:
        message = f"the instruction {text!r:.80} does not fit the template: {error}"
        raise InputError(message, field="instructions") from error
    return replace(task, template=template)
