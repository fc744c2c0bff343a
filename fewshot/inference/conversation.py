"""One conversation with a model, without I/O: a generator that yields requests and is sent completions.

Asking, reading label probabilities, settling shared tokens, asking again after an invalid answer and voting are all
written once. `fewshot.models.drive` runs a conversation against a client, for sync calls, async calls and bulk runs.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

from fewshot.calibration.ridge import Top
from fewshot.errors import OutputError, ServiceError
from fewshot.inference.answerable import chances, refusal_of, verdict
from fewshot.inference.field_scoring import decided_record, fitted, read_fields
from fewshot.inference.label_scoring import Weighed, known_answer, send, weigh
from fewshot.inference.label_sets import decided, judged_set, weigh_set
from fewshot.inference.label_tree import LabelTree, mean_logprob
from fewshot.inference.question import Answer, Question, Talk, left_out
from fewshot.inference.repair import refuse_unfinished, repaired
from fewshot.inference.voting import vote
from fewshot.outputs.spans import not_there
from fewshot.types import Completion, Request

__all__ = ["ask", "lessons", "probabilities"]


_GATE = {"chat": 0.4, "text": 0.02}
"""Share of the probability below which labels are not what the model was about to say, and so are not read.

Measured; see docs/reliability.md.
"""
_TOO_LITTLE = "the labels hold too little of the probability"
_OTHER = "the reply says other than its first token's log-probabilities"
_NO_LIST = "the reply is not a list of the labels alone"
_NO_SUCH_ENDPOINT = (404, 405, 501)
_NOT_SO = (400, 422)
"""Statuses that say: not this question, which has too many labels, say."""


def ask(question: Question) -> Talk:
    """Answer a question in the way that suits its output and what the endpoint can do."""
    if question.reading is not None and (known := known_answer(question)) is not None:
        return _held_back(question, known)
    scored, weighed = yield from _probabilities(question)
    contradicted = scored is not None and weighed is not None and _contradicted(question, weighed, scored)
    if scored is not None and not contradicted:
        return _held_back(question, scored)
    if question.settings.votes > 1:
        answer = yield from vote(question)
    else:
        answer = yield from _answer(question, weighed.said if weighed else None)
    warnings = []
    if weighed and weighed.tree:  # what the answer's tokens weigh is not its chance of being right: no labels were read
        share = weighed.tree.coverage
        answer = replace(answer, coverage=share, confidence=answer.confidence if answer.method == "votes" else None)
        why = _OTHER if contradicted else _TOO_LITTLE
        why = _NO_LIST if question.output.several and share >= _GATE[question.form] else why
        warnings.append(f"{why}, so the answer was read as it was written")
    return _held_back(question, answer, *warnings)


def _held_back(question: Question, answer: Answer, *warnings: str) -> Answer:
    """Tell with an answer, a record's by its fit, what min_confidence cannot judge in it, or holds it back for."""
    answer = fitted(question, answer) if answer.fields else answer
    least = question.settings.min_confidence
    if isinstance(least, Mapping):
        warnings = (*warnings, *answer.short_fields(least))
    elif least is not None and answer.confidence is None:
        warnings = (*warnings, "the answer has no confidence, so min_confidence holds it back; votes=5 would give one")
    return replace(answer, warnings=(*answer.warnings, *warnings)) if warnings else answer


def _contradicted(question: Question, weighed: Weighed, scored: Answer) -> bool:
    """Tell whether a whole reply says another label than its tokens weigh most, or more than one, or none.

    A set whose thresholds are not fitted is the one that was written, so that there must be one.
    """
    if question.output.several:
        return scored.calibration == "none" and weighed.written is None
    if weighed.tree is None or weighed.said is None:
        return False
    as_weighed = scored.calibration == "none" and question.reading is None
    label, completion = scored.value if as_weighed else weighed.tree.likeliest, weighed.said[1]
    word, text = weighed.tree.words[label], completion.text
    if text == word or (completion.finish_reason == "length" and word.casefold().startswith(text.strip().casefold())):
        return False
    try:
        return bool(question.read(completion.text, sent_schema=False)[0] != label)
    except OutputError:
        return True


def lessons(question: Question, found: Answer | None = None) -> dict[str, Any]:
    """Give what a conversation has shown of the model, mostly nothing, by the names that `learn` has for it."""
    thought = any(question.thoughts)
    written = found is not None and found.method not in ("logprobs", "decisions")
    in_vain = (
        question.thinks == "always" or (question.thinks == "seen" and bool(question.thoughts[0])) if thought else False
    )
    shown = {
        "silent": written and question.found_silent,
        "undecided": any(status in _NO_SUCH_ENDPOINT for status in question.refusals),
        "thinks": ("always" if in_vain else "seen") if thought else "",
        "room": found.room if found else 0,
        "window": question.windows[-1] if question.windows else 0,
    }
    return {name: what for name, what in shown.items() if what}


def probabilities(question: Question) -> Generator[tuple[Request, ...], tuple[Completion, ...], Answer | None]:
    """Find the probability of every label as the endpoint can give it; None where it gives none."""
    return (yield from _probabilities(question))[0]


def _probabilities(
    question: Question,
) -> Generator[tuple[Request, ...], tuple[Completion, ...], tuple[Answer | None, Weighed | None]]:
    """Give the answer that probabilities came to, if any, and what was weighed for it."""
    if question.decides:
        answer = yield from decide(question)
        if answer is not None:
            return answer, None
        question = replace(question, calibration=None)  # it was fitted on decisions, if at all
    if not question.is_scored:
        return None, None
    several = question.output.several
    weighed = yield from (weigh_set if several else weigh)(question)
    tree = weighed.tree
    share = 0.0 if tree is None else tree.coverage
    if tree is None or share < _GATE[question.form] or (several and weighed.chances is None):
        return None, weighed
    return _scored(question, tree, weighed, share), weighed


def decide(question: Question) -> Generator[tuple[Request, ...], tuple[Completion, ...], Answer | None]:
    """Ask the endpoint for its own distribution over the labels; None when it has no such thing."""
    try:
        given = yield from decided(question)
    except ServiceError as error:
        if error.status in (*_NO_SUCH_ENDPOINT, *_NOT_SO):
            question.refusals.append(error.status)
            return None
        raise
    if not given:  # a client of the caller's own may know of no decisions
        question.refusals.append(501)
        return None
    if question.output.kind == "schema":
        return decided_record(question, given)
    if question.output.several:
        return judged_set(question, given, tuple(la for la, p in given.items() if p >= 0.5), method="decisions")
    return _judged(question, {label: math.log(max(p, 1e-12)) for label, p in given.items()}, method="decisions")


def _answer(question: Question, said: tuple[Request, Completion] | None = None) -> Talk:
    """Ask for the answer itself; tell the model what was wrong with it, a bounded number of times.

    Arguments:
        said: what was asked already, and the reply to it.
    """
    output, settings = question.output, question.settings
    schema = output.schema() if output.kind == "schema" else None
    request = said[0] if said else question.request(schema=schema, top_logprobs=question.listed_with_answers)
    first: Completion | None = None
    last: OutputError | None = None
    lacking: Answer | None = None
    room = 0
    for repairs_left in range(settings.max_repairs, -1, -1):
        completion, said = (said[1] if said else (yield from send(question, request))), None
        first = first or completion
        try:
            refuse_unfinished(question, completion)
            value, missing = question.read(completion.text, sent_schema=request.schema is not None)
        except OutputError as error:
            if lacking is not None:
                return lacking
            if error.reason in ("content_filter", "refusal", "loop"):
                raise
            last = error
            request = repaired(question, request, error)
            if request.top_logprobs and not output.fields:  # the first answer's place is what counts, and was listed
                request = replace(request, top_logprobs=0)
            room = request.max_tokens or 0 if error.reason == "length" else room
            continue
        mean = mean_logprob(completion.tokens)
        sure = None if mean is None else math.exp(mean)
        method = "schema" if request.schema and "response_format" not in completion.dropped else "answer"
        room = room if question.thoughts[-1] or not question.thoughts[0] else 0  # it was the thoughts that took it
        answer = Answer(
            value=value,
            method=method,
            confidence=sure,
            sure=sure,
            room=room,
            warnings=left_out(missing),
            fields=read_fields(output, completion),
        )
        if missing and repairs_left and lacking is None:
            lacking = answer
            request = repaired(question, request, OutputError(not_there(missing), raw=completion.text))
            continue
        return _or_none(question, first, answer)
    assert last is not None  # noqa: S101 - the loop ran at least once
    tries = settings.max_repairs + 1
    message = f"no valid answer in {tries} {'try' if tries == 1 else 'tries'}: {last}"
    raise OutputError(message, reason=last.reason, raw=last.raw, completions=tuple(question.completions)) from last


def _or_none(question: Question, first: Completion, answer: Answer) -> Answer:
    """Weigh an answer against "no answer", where that is an output and the tokens at the answer's place are listed."""
    refusal, tokens = refusal_of(question.output), first.tokens
    logprobs = chances(refusal, tokens, answer.value) if refusal and question.listed_with_answers else None
    if logprobs is None:
        return answer
    judged = _judged(question, logprobs, method=answer.method, top=tokens[0].top)
    assert judged.probabilities is not None  # noqa: S101 - just judged
    value, confidence = verdict(answer.value, judged.probabilities, answer.sure)
    return replace(judged, value=value, confidence=confidence, sure=answer.sure, room=answer.room)


def _scored(question: Question, tree: LabelTree, weighed: Weighed, share: float) -> Answer:
    """Judge labels that hold enough of the probability, which also bounds how sure an answer can be without a fit."""
    calibration, warnings = question.calibration, []
    if weighed.unsettled:
        warnings.append("labels that begin alike could not be told apart exactly; give them short names that differ")
    if calibration is not None and not calibration.holds_at(share):
        calibration = None
        warnings.append("the labels hold another share of the probability than the calibration was fitted at: not used")
        question = replace(question, calibration=None)
    top = question.top if calibration else ()
    most = share if calibration is None or calibration.shares is None else math.inf
    told: dict[str, Any] = {"coverage": share, "warnings": tuple(warnings)}
    if weighed.chances is None:
        return _judged(question, tree.logprobs(), method="logprobs", top=top, most=most, **told)
    answer = judged_set(question, weighed.chances, weighed.written, method="logprobs", top=top)
    return replace(answer, confidence=min(most, answer.confidence or 0.0), **told)


def _judged(
    question: Question, logprobs: Mapping[str, float], top: Top = (), most: float = math.inf, **told: Any
) -> Answer:
    """Calibrate and choose the likeliest label; `top` are the likeliest tokens where the answer begins."""
    calibration, reading = question.calibration, question.reading
    logprobs = logprobs if reading is None else reading.joined(logprobs)
    if calibration is None:
        probabilities, name = {label: math.exp(p) for label, p in logprobs.items()}, "none"
    else:
        probabilities, name = calibration.apply({**logprobs, **question.features(top)}), calibration.name
    value = max(probabilities, key=probabilities.__getitem__)
    sure = min(most, probabilities[value])
    return Answer(value=value, probabilities=probabilities, confidence=sure, calibration=name, **told)
