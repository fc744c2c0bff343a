"""Turn a handful of examples into a typed Python function.

>>> from fewshot import classify_sentiment
>>> classify_sentiment("I love this phone, the battery lasts forever.")  # doctest: +SKIP
'positive'

Importing this does no work: each name is loaded when it is first used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fewshot._moved import Moved

if TYPE_CHECKING:
    from fewshot.data.importing import examples_from
    from fewshot.errors import ConfigError, FewshotError, InputError, OutputError, ServiceError, TaskError
    from fewshot.functions import (
        answer,
        calculate,
        classify,
        classify_sentiment,
        complete_pattern,
        detect_injection,
        extract,
        summarize,
        translate,
    )
    from fewshot.models.scripted import ScriptedClient
    from fewshot.result import Result
    from fewshot.task import Task, load
    from fewshot.types import Completion, Example, Message, Request, Usage

_HOME = {
    "models.scripted": ("ScriptedClient",),
    "errors": ("ConfigError", "FewshotError", "InputError", "OutputError", "ServiceError", "TaskError"),
    "data.importing": ("examples_from",),
    "task": ("Task", "load"),
    "functions": (
        "answer",
        "calculate",
        "classify",
        "classify_sentiment",
        "complete_pattern",
        "detect_injection",
        "extract",
        "summarize",
        "translate",
    ),
    "result": ("Result",),
    "types": ("Completion", "Example", "Message", "Request", "Usage"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

sys.meta_path.append(Moved)

__all__ = [
    "Completion",
    "ConfigError",
    "Example",
    "FewshotError",
    "InputError",
    "Message",
    "OutputError",
    "Request",
    "Result",
    "ScriptedClient",
    "ServiceError",
    "Task",
    "TaskError",
    "Usage",
    "answer",
    "calculate",
    "classify",
    "classify_sentiment",
    "complete_pattern",
    "detect_injection",
    "examples_from",
    "extract",
    "load",
    "summarize",
    "translate",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("fewshot")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'fewshot' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"fewshot.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
