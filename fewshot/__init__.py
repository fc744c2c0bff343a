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
    from fewshot.bulk.batch_api.run import BatchRun as BatchRun
    from fewshot.bulk.estimate import Estimate as Estimate
    from fewshot.bulk.estimate import estimate as estimate
    from fewshot.calibration.running import arecalibrated as arecalibrated
    from fewshot.calibration.running import recalibrated as recalibrated
    from fewshot.data.importing import examples_from as examples_from
    from fewshot.errors import ConfigError as ConfigError
    from fewshot.errors import FewshotError as FewshotError
    from fewshot.errors import InputError as InputError
    from fewshot.errors import OutputError as OutputError
    from fewshot.errors import ServiceError as ServiceError
    from fewshot.errors import TaskError as TaskError
    from fewshot.estimation.judging import ajudge as ajudge
    from fewshot.estimation.judging import judge as judge
    from fewshot.estimation.shares import Shares as Shares
    from fewshot.evaluation.calibrate import Calibrated as Calibrated
    from fewshot.evaluation.report import Report as Report
    from fewshot.functions import answer as answer
    from fewshot.functions import calculate as calculate
    from fewshot.functions import classify as classify
    from fewshot.functions import classify_sentiment as classify_sentiment
    from fewshot.functions import complete_pattern as complete_pattern
    from fewshot.functions import detect_injection as detect_injection
    from fewshot.functions import extract as extract
    from fewshot.functions import find as find
    from fewshot.functions import summarize as summarize
    from fewshot.functions import translate as translate
    from fewshot.models.client import ClientWrapper as ClientWrapper
    from fewshot.models.openai_client import OpenAIClient as OpenAIClient
    from fewshot.models.scripted import ScriptedClient as ScriptedClient
    from fewshot.outputs.spans import Span as Span
    from fewshot.result import Result as Result
    from fewshot.settings import Settings as Settings
    from fewshot.task import Task as Task
    from fewshot.task import load as load
    from fewshot.task import together as together
    from fewshot.tuning.result import Tuned as Tuned
    from fewshot.types import Completion as Completion
    from fewshot.types import Example as Example
    from fewshot.types import Message as Message
    from fewshot.types import Request as Request
    from fewshot.types import Usage as Usage

# Each module with the names that it gives to the package; type checkers read the same above.
_HOME = {
    "bulk.batch_api.run": "BatchRun",
    "bulk.estimate": "Estimate estimate",
    "calibration.running": "arecalibrated recalibrated",
    "data.importing": "examples_from",
    "errors": "ConfigError FewshotError InputError OutputError ServiceError TaskError",
    "estimation.judging": "ajudge judge",
    "estimation.shares": "Shares",
    "evaluation.calibrate": "Calibrated",
    "evaluation.report": "Report",
    "functions": "answer calculate classify classify_sentiment complete_pattern detect_injection extract find "
    "summarize translate",
    "models.client": "ClientWrapper",
    "models.openai_client": "OpenAIClient",
    "models.scripted": "ScriptedClient",
    "outputs.spans": "Span",
    "result": "Result",
    "settings": "Settings",
    "task": "Task load together",
    "tuning.result": "Tuned",
    "types": "Completion Example Message Request Usage",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

sys.meta_path.append(Moved)

__all__ = sorted(_MODULE_OF)


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
