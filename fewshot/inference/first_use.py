"""Fitting a calibration to one prompt on one model, and keeping it where it is found again.

A calibration is kept under a hash of everything that it was fitted for (template, shots, labels, settings, model), so
it can never be applied to another prompt.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fewshot._storage import cache_dir, write_private
from fewshot.calibration.calibration import Calibration, batch, contextual
from fewshot.calibration.fitting import Fitted, fit
from fewshot.calibration.ridge import token_features, vocabulary
from fewshot.errors import ConfigError, InputError, OutputError, ServiceError
from fewshot.inference.answerable import class_of
from fewshot.inference.conversation import ask, drive, lessons, probabilities, side_by_side
from fewshot.inference.question import Answer, Question
from fewshot.models.client import Client
from fewshot.models.rate_limits import beside_rows

if TYPE_CHECKING:
    from fewshot.models.connection import Connection

__all__ = [
    "CONTENT_FREE",
    "failed",
    "fit_answerable",
    "fit_calibration",
    "keep",
    "kept",
    "own_calibration",
    "score_all",
    "unlabelled_calibration",
]

CONTENT_FREE = ("N/A", "[MASK]", "...")
"""Inputs without content: what the prompt says to these is its bias (arXiv 2102.09690, section 4)."""
_ENOUGH = 10
"""Unlabelled inputs that batch calibration needs (arXiv 2309.17249, section 4.3: about ten)."""
_ENOUGH_WIDE = 40
"""Labelled rows from which on hundreds of next tokens are worth reading."""
_NAMED = 5
"""How many labels a warning names."""
_IN_FLIGHT = 4
_PATIENCE = 120.0
"""Seconds that fitting at first use may take at a service; what the embedded model gives must not hang on its speed."""

_log = logging.getLogger("fewshot")

T = TypeVar("T")


def kept(key: str) -> Calibration | None:
    """Give the calibration kept under a key; None when there is none, or what is there cannot be read."""
    if key not in _known:
        try:
            _known[key] = _read(cache_dir("calibrations") / f"{key}.json")
        except ConfigError:  # where no folder can be made, nothing has been kept
            _known[key] = None
    return _known[key]


def keep(key: str, calibration: Calibration, about: Mapping[str, Any]) -> None:
    """Keep a calibration under its key, with what it was fitted on for a person to read.

    Raises:
        ConfigError: the cache folder cannot be written; for this process it is kept all the same.
    """
    _known[key] = calibration
    record = {"about": dict(about), "calibration": json.loads(calibration.to_json())}
    write_private(cache_dir("calibrations") / f"{key}.json", json.dumps(record, indent=1, ensure_ascii=False))


_known: dict[str, Calibration | None] = {}
"""What `kept` has looked up, so that a call does not read a file."""
failed: set[str] = set()
"""What could not be fitted at first use, which is not tried and paid for at every call; a `calibrate` mends it."""


def _read(path: Path) -> Calibration | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Calibration.from_json(json.dumps(record["calibration"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        _log.warning("the calibration in %s cannot be read (%s), so it is not used: calibrate again", path, error)
        return None


async def score_all(questions: Sequence[Question], connection: Connection, *, deadline: float) -> list[Answer | None]:
    """Read the probabilities of the labels for each question, before any calibration.

    Nothing comes for a question that the model or its provider refuses to answer, as long as others get an answer.

    Raises:
        ConfigError: the endpoint gives no log-probabilities. ServiceError: as for a call. OutputError: all are refused.
    """

    async def one(question: Question) -> Answer | None:
        asked = replace(question, decides=question.decides and connection.decides(True))
        answer = await drive(probabilities(asked), connection.client, deadline=deadline)
        connection.facts.learn(**lessons(asked, answer))
        if answer is None and question.found_silent:
            raise ConfigError("this endpoint gives no log-probabilities, so there is nothing to calibrate")
        return answer

    return await _for_each(questions, one)


async def _for_each(
    questions: Sequence[Question], job: Callable[[Question], Coroutine[Any, Any, T | None]]
) -> list[T | None]:
    """Do a job for each question, a few at a time; nothing comes of one that is refused, unless all are."""
    gate = asyncio.Semaphore(1 if questions and questions[0].continues else _IN_FLIGHT)
    refused: list[OutputError | ServiceError] = []

    async def one(question: Question) -> T | None:
        async with gate:
            try:
                return await job(question)
            except (OutputError, ServiceError) as error:
                if isinstance(error, ServiceError) and not error.for_what_it_holds:
                    raise
                refused.append(error)
                return None

    found = await side_by_side(one(question) for question in questions)
    if refused and len(refused) == len(questions):
        raise refused[0]
    return found


async def fit_calibration(
    questions: Sequence[Question], answers: Sequence[str], connection: Connection, *, deadline: float, wide: bool = True
) -> tuple[Fitted, list[bool]]:
    """Fit a calibration on labelled questions; see `fewshot.calibration.fitting.fit` for the choice.

    Arguments:
        wide: read all the next tokens that are listed and not only the labels' own, where that helps.

    Returns:
        The fit, on the questions that got an answer, and for each question whether it is one of these.
    """
    given = await score_all(questions, connection, deadline=deadline)
    known = [place for place, answer in enumerate(given) if answer]
    if not known:
        raise ConfigError("no row gave label probabilities, so there is nothing to calibrate: show the model examples")
    if len(known) < len(given):
        _log.warning("%d of %d rows got no answer, and are not calibrated on", len(given) - len(known), len(given))
    scores = [_logs(answer.probabilities) for answer in given if answer]
    fitted = await _fitted(scores, [questions[n] for n in known], [answers[n] for n in known], wide=wide)
    shares = [answer.coverage for answer in given if answer and answer.coverage is not None]
    if shares:
        fitted = replace(fitted, calibration=replace(fitted.calibration, shares=(min(shares), max(shares))))
    return fitted, [bool(answer) for answer in given]


async def fit_answerable(
    questions: Sequence[Question], truths: Sequence[Any], client: Client, *, deadline: float
) -> tuple[Fitted, list[Answer | None]] | None:
    """Fit when there is no answer, on questions whose right value is None where there is none.

    Returns:
        The fit, on the questions that got an answer, and the answers as they were before: None for those that did not.
        Nothing where the endpoint lists no log-probabilities.

    Raises:
        ServiceError: as for a call.
    """
    given = await _answer_all(questions, client, deadline=deadline)
    known = [place for place, answer in enumerate(given) if answer is not None]
    scores = [_logs(answer.probabilities) for answer in given if answer is not None and answer.probabilities]
    if not scores:
        return None
    asked = [questions[place] for place in known]
    classes = [class_of(asked[0].output, truths[place]) for place in known]
    return await _fitted(scores, asked, classes), given


async def _answer_all(questions: Sequence[Question], client: Client, *, deadline: float) -> list[Answer | None]:
    """Ask for the answers themselves; one that never becomes valid, or comes without log-probabilities, is None."""

    async def one(question: Question) -> Answer | None:
        answer = await drive(ask(question), client, deadline=deadline)
        return answer if answer.probabilities else None

    return await _for_each(questions, one)


async def _fitted(
    scores: Sequence[Mapping[str, float]], questions: Sequence[Question], answers: Sequence[str], *, wide: bool = True
) -> Fitted:
    """Fit on scores and, where that helps, on all the tokens that the questions' completions list."""
    _tell_of_missing([label for label in scores[0] if label not in answers])
    tops = [question.top for question in questions]
    tokens = vocabulary(tops) if wide and len(tops) >= _ENOUGH_WIDE else ()
    blocks = [[token_features(top, tokens) for top in tops]] if tokens else []
    return await asyncio.to_thread(fit, scores, answers, wide=blocks)


def _tell_of_missing(labels: Sequence[str]) -> None:
    if labels:
        more = ", …" if len(labels) > _NAMED else ""
        named = f"{', '.join(map(repr, labels[:_NAMED]))}{more}"
        _log.warning("no row to calibrate on is %s: give some of every label", named)


def _logs(probabilities: Mapping[str, float] | None) -> dict[str, float]:
    return {label: math.log(max(p, 1e-12)) for label, p in (probabilities or {}).items()}


async def unlabelled_calibration(
    questions: Sequence[Question], connection: Connection, *, deadline: float
) -> Calibration:
    """Fit without labels: batch calibration on enough inputs, contextual calibration on content-free ones."""
    given = await score_all(questions, connection, deadline=deadline)
    scores = [_logs(answer.probabilities) for answer in given if answer]
    return batch(scores) if len(scores) >= _ENOUGH else contextual(scores)


async def own_calibration(
    key: str, labelled: Sequence[tuple[Question, str]], content_free: Sequence[Question], connection: Connection
) -> Calibration | None:
    """Calibrate a prompt from its task's own examples, once; None when that fails, with the reason in the log.

    Arguments:
        labelled: the examples that are not shots, asked as questions, with their labels; ten or more are fitted on.
        content_free: questions without content, for a task with fewer examples.
    """
    running = _running.get((id(asyncio.get_running_loop()), key))
    if running is None:
        fitting = _own(key, labelled, content_free, connection)
        running = asyncio.get_running_loop().create_task(fitting, context=beside_rows())
        _running[(id(asyncio.get_running_loop()), key)] = running
        running.add_done_callback(lambda _: _running.pop((id(running.get_loop()), key), None))
    return await asyncio.shield(running)


_running: dict[tuple[int, str], asyncio.Future[Calibration | None]] = {}
"""Calibrations being fitted, so that many first calls at once fit one."""


async def _own(
    key: str, labelled: Sequence[tuple[Question, str]], content_free: Sequence[Question], connection: Connection
) -> Calibration | None:
    deadline = math.inf if connection.local else time.monotonic() + _PATIENCE
    questions = [question for question, _ in labelled]
    try:
        if len(labelled) >= _ENOUGH:
            answers = [label for _, label in labelled]
            fitted, _ = await fit_calibration(questions, answers, connection, deadline=deadline, wide=False)
            calibration, about = fitted.calibration, fitted.to_dict()
        else:
            calibration = await unlabelled_calibration(content_free, connection, deadline=deadline)
            about = {"chosen": calibration.name, "rows": 0}
    except (ServiceError, OutputError, ConfigError, InputError) as error:
        _log.warning("not calibrated: %s", error)
        failed.add(key)
        return None
    try:
        keep(key, calibration, about)
    except ConfigError as error:
        _log.warning("the calibration is not kept for later: %s", error)
    return calibration
