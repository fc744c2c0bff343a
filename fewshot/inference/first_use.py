"""Fitting a calibration to one prompt on one model."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fewshot._background_loop import side_by_side
from fewshot._progress import UNSHOWN, Bar
from fewshot.calibration.calibration import Calibration, batch, both_ways, contextual
from fewshot.calibration.drift import figures_of
from fewshot.calibration.fitting import Fitted, fit, judged_rows
from fewshot.calibration.goal import Goal
from fewshot.calibration.promise import text_of
from fewshot.calibration.ridge import can_fit, token_features, vocabulary
from fewshot.calibration.set_fitting import fit_set
from fewshot.errors import ConfigError, InputError, OutputError, ServiceError
from fewshot.inference.answerable import class_of
from fewshot.inference.conversation import ask, lessons, probabilities
from fewshot.inference.fits import failed, keep, keep_here
from fewshot.inference.question import Answer, Question
from fewshot.inference.shots import ENOUGH, FEWEST
from fewshot.models.cache import cached_client
from fewshot.models.drive import drive
from fewshot.models.local.encoder import encoder, features_of
from fewshot.models.rate_limits import beside_rows
from fewshot.models.tokens import estimated_tokens
from fewshot.narrowing.weighing import fit_weights

if TYPE_CHECKING:
    from fewshot.models.connection import Connection

__all__ = ["fit_answerable", "fit_calibration", "own_calibration", "score_all", "unlabelled_calibration"]

_ENOUGH = ENOUGH
"""Unlabelled inputs that batch calibration needs (arXiv 2309.17249, section 4.3: about ten)."""
_SLOW = 6_000
"""Tokens that take about a minute on two cores, so that it is told before."""
_ENOUGH_WIDE = 40
"""Labelled rows from which on hundreds of next tokens are worth reading."""
_NAMED = 5
"""How many labels a warning names."""
_IN_FLIGHT = 4

_log = logging.getLogger("fewshot")

T = TypeVar("T")


async def score_all(
    questions: Sequence[Question], connection: Connection, stopped: list[ServiceError] | None = None
) -> list[Answer | None]:
    """Read the probabilities of the labels for each question, before any calibration.

    Nothing comes for a question that the model or its provider refuses to answer, as long as others get an answer.

    Arguments:
        stopped: takes the failure that ends the asking, so that what was scored until then is of use.

    Raises:
        ConfigError: the endpoint gives no log-probabilities. ServiceError: as for a call. OutputError: all are refused.
    """

    async def one(question: Question) -> Answer | None:
        asked = replace(question, decides=question.decides and connection.decides(True))
        deadline = connection.deadline(question.settings.timeout)
        answer = await drive(probabilities(asked), connection.client, deadline=deadline)
        connection.facts.learn(**lessons(asked, answer))
        if answer is None and question.found_silent:
            raise ConfigError("this endpoint gives no log-probabilities, so there is nothing to calibrate")
        return answer

    return await _for_each(questions, one, stopped)


async def _for_each(
    questions: Sequence[Question],
    job: Callable[[Question], Coroutine[Any, Any, T | None]],
    stopped: list[ServiceError] | None = None,
) -> list[T | None]:
    """Do a job for each question, a few at a time; nothing comes of one that is refused, unless all are."""
    gate = asyncio.Semaphore(1 if questions and questions[0].continues else _IN_FLIGHT)
    refused: list[OutputError | ServiceError] = []
    done = 0

    async def one(question: Question) -> T | None:
        nonlocal done
        async with gate:
            if stopped:
                return None
            try:
                return await job(question)
            except (OutputError, ServiceError) as error:
                if isinstance(error, ServiceError) and not error.for_what_it_holds:
                    if stopped is None:
                        raise
                    stopped.append(error)
                    return None
                refused.append(error)
                return None
            finally:
                done += 1
                bar.show(done, len(questions), extras=f"{len(refused):,} failed" if refused else "")

    with Bar("calibrating", after=UNSHOWN) as bar:
        found = await side_by_side(one(question) for question in questions)
    if refused and len(refused) == len(questions):
        raise refused[0]
    return found


async def fit_calibration(
    questions: Sequence[Question],
    answers: Sequence[Any],
    connection: Connection,
    *,
    goal: Goal | None = None,
    content_free: Sequence[Question] = (),
    unlabelled: Sequence[Question] = (),
    stopped: list[ServiceError] | None = None,
    simple: bool = False,
) -> tuple[Fitted, list[bool]]:
    """Fit a calibration on labelled questions; see `fewshot.calibration.fitting.fit` for the choice.

    Arguments:
        goal: what is to be promised of the labels of a set.
        content_free, unlabelled: questions without a label, which tell of the prompt's bias.
        stopped: takes the failure of the service that ended the asking; then what had been scored is fitted on.

    Returns:
        The fit, on the questions that got an answer, and for each question whether it is one of these.
    """
    given = await score_all(questions, connection, stopped)
    known = [place for place, answer in enumerate(given) if answer]
    if stopped and len(known) < _ENOUGH:
        raise stopped[0]
    if not known:
        message = "no row gave label probabilities, so there is nothing to calibrate"
        raise ConfigError(f"{message}: the endpoint gives no log-probabilities, or the model needs examples")
    if len(known) < len(given):
        _log.warning("%d of %d rows got no answer, and are not calibrated on", len(given) - len(known), len(given))
    several = questions[0].output.several
    scores = [(both_ways if several else _logs)(answer.probabilities or {}) for answer in given if answer]
    more = content_free if (simple or len(known) < _ENOUGH_WIDE) and questions[0].reading is None else ()
    free, further = [
        [_logs(answer.probabilities) for answer in await score_all(some, connection) if answer]
        for some in (more, unlabelled)
    ]
    asked = [questions[n] for n in known]
    fitted = await _fitted(scores, asked, [answers[n] for n in known], free, further, simple=simple, goal=goal)
    shares = [answer.coverage for answer in given if answer and answer.coverage is not None]
    if shares:
        fitted = replace(fitted, calibration=replace(fitted.calibration, shares=(min(shares), max(shares))))
    return fitted, [bool(answer) for answer in given]


async def fit_answerable(
    questions: Sequence[Question], truths: Sequence[Any], connection: Connection
) -> tuple[Fitted, list[Answer | None]] | None:
    """Fit when there is no answer, on questions whose right value is None where there is none.

    Returns:
        The fit, on the questions that got an answer, and the answers as they were before: None for those that did not.
        Nothing where the endpoint lists no log-probabilities.

    Raises:
        ServiceError: as for a call.
    """
    given = await _answer_all(questions, connection)
    known = [place for place, answer in enumerate(given) if answer is not None]
    scores = [_logs(answer.probabilities) for answer in given if answer is not None and answer.probabilities]
    if not scores:
        return None
    asked = [questions[place] for place in known]
    classes = [class_of(asked[0].output, truths[place]) for place in known]
    return await _fitted(scores, asked, classes), given


async def _answer_all(questions: Sequence[Question], connection: Connection) -> list[Answer | None]:
    """Ask for the answers themselves; one that never becomes valid, or comes without log-probabilities, is None."""

    async def one(question: Question) -> Answer | None:
        deadline = connection.deadline(question.settings.timeout)
        answer = await drive(ask(question), connection.client, deadline=deadline)
        return answer if answer.probabilities else None

    return await _for_each(questions, one)


async def _fitted(
    scores: Sequence[Mapping[str, float]],
    questions: Sequence[Question],
    answers: Sequence[Any],
    content_free: Sequence[Mapping[str, float]] = (),
    unlabelled: Sequence[Mapping[str, float]] = (),
    *,
    simple: bool = False,
    goal: Goal | None = None,
) -> Fitted:
    """Fit on scores and, where that helps, on all the tokens that the questions' completions list."""
    output, readings = questions[0].output, [q.reading for q in questions if q.reading is not None]
    if readings:
        return await asyncio.to_thread(fit_weights, scores, readings, answers)
    there = {label for answer in answers for label in output.labels_in(answer)}
    _tell_of_missing([label for label in (output.labels or scores[0]) if label not in there])
    tops = [question.top for question in questions]
    tokens = vocabulary(tops) if len(tops) >= _ENOUGH_WIDE and not simple else ()
    blocks = [[token_features(top, tokens) for top in tops]] if tokens and can_fit() else []
    if encoding := await asyncio.to_thread(encoder):
        blocks.append(await asyncio.to_thread(features_of, [text_of(question.inputs) for question in questions]))
    fitted = (
        await asyncio.to_thread(partial(fit_set, labels=output.labels or (), wide=blocks, goal=goal), scores, answers)
        if output.several
        else await asyncio.to_thread(
            fit, scores, answers, wide=blocks, content_free=content_free, unlabelled=unlabelled, simple=simple
        )
    )
    if encoding and any(name.startswith("encoder:") for name in fitted.calibration.features):
        fitted = replace(fitted, calibration=replace(fitted.calibration, encoder=encoding))
    if tokens and not can_fit():
        name = f"{fitted.calibration.name}, labels only: numpy is not installed"
        _log.warning("calibrated on the labels' own tokens only, which is less accurate: pip install numpy")
        fitted = replace(fitted, calibration=replace(fitted.calibration, name=name))
    return fitted


def _tell_of_missing(labels: Sequence[str]) -> None:
    if labels:
        more = ", …" if len(labels) > _NAMED else ""
        named = f"{', '.join(map(repr, labels[:_NAMED]))}{more}"
        _log.warning("no row to calibrate on is %s: give some of every label", named)


def _logs(probabilities: Mapping[str, float] | None) -> dict[str, float]:
    return {label: math.log(max(p, 1e-12)) for label, p in (probabilities or {}).items()}


async def unlabelled_calibration(questions: Sequence[Question], connection: Connection) -> Calibration:
    """Fit without labels: batch calibration on enough inputs, contextual calibration on content-free ones."""
    given = await score_all(questions, connection)
    scores = [_logs(answer.probabilities) for answer in given if answer]
    return batch(scores) if len(scores) >= _ENOUGH else contextual(scores)


async def own_calibration(
    key: str,
    labelled: Sequence[tuple[Question, str]],
    content_free: Sequence[Question],
    connection: Connection,
    *,
    simple: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Calibration | None:
    """Calibrate a prompt from its task's own examples, once; None when that fails, with the reason in the log.

    Arguments:
        labelled: examples asked as questions, with their labels.
        content_free: questions without content, for a task with few examples or none.
        simple: fit only what asks little of the rows, since they are shots.
        about: further facts, for a person who looks at what is kept.
    """
    running = _running.get((id(asyncio.get_running_loop()), key))
    if running is None:
        fitting = _own(key, labelled, content_free, connection, simple, {**(about or {}), "by": "first use"})
        running = asyncio.get_running_loop().create_task(fitting, context=beside_rows())
        _running[(id(asyncio.get_running_loop()), key)] = running
        running.add_done_callback(lambda _: _running.pop((id(running.get_loop()), key), None))
    return await asyncio.shield(running)


_running: dict[tuple[int, str], asyncio.Future[Calibration | None]] = {}
"""Calibrations being fitted, so that many first calls at once fit one."""


async def _own(
    key: str,
    labelled: Sequence[tuple[Question, str]],
    content_free: Sequence[Question],
    connection: Connection,
    simple: bool,
    more: Mapping[str, Any],
) -> Calibration | None:
    questions = [question for question, _ in labelled]
    if connection.local:  # what has been scored is there for the next process, should this one end before the fit
        connection = replace(connection, client=cached_client(connection.client, connection.endpoint, connection.place))
    tokens = _tokens_of([*questions, *content_free])
    told = logging.WARNING if connection.local and tokens > _SLOW else logging.INFO
    minutes = max(1, round(tokens / _SLOW))
    _log.log(told, "calibrating once on %d examples: %s tokens, about %d min", len(questions), f"{tokens:,}", minutes)
    stopped: list[ServiceError] = []
    try:
        if len(labelled) >= FEWEST:
            answers = [label for _, label in labelled]
            fitted, known = await fit_calibration(
                questions, answers, connection, content_free=content_free, stopped=stopped, simple=simple
            )
            rows = len({repr(question.inputs) for question in questions})  # a shot is asked with and without itself
            calibration, about = fitted.calibration, {**more, **fitted.to_dict(), "rows": rows}
            if not simple:
                truths = [answer for answer, has in zip(answers, known, strict=True) if has]
                about["figures"] = asdict(figures_of(judged_rows(fitted, truths)))
        else:
            calibration = await unlabelled_calibration(content_free, connection)
            about = {**more, "chosen": calibration.name, "rows": 0}
    except (ServiceError, OutputError, ConfigError, InputError) as error:
        _log.warning("not calibrated: %s", error)
        failed[key] = f"not calibrated, though it was to be: {error}"
        return None
    if stopped:
        failed[key] = f"calibrated on {sum(known)} of {len(known)} examples: {stopped[0]}"
        keep_here(key, calibration, {**about, "rows": sum(known)})  # the next process goes on
        return calibration
    try:
        keep(key, calibration, about)
    except ConfigError as error:
        _log.warning("the calibration is not kept for later: %s", error)
    return calibration


def _tokens_of(questions: Sequence[Question]) -> int:
    """Estimate the tokens that are read: each prompt's beginning once, and every question."""
    prompts = {id(question.prompt): question.prompt for question in questions}
    shown = sum(estimated_tokens(prompt.text_prefix) for prompt in prompts.values())
    return shown + sum(estimated_tokens(" ".join(map(str, question.inputs.values()))) for question in questions)
