"""A text longer than its model holds: cut into parts, each asked as a question, and one answer made of theirs.

Without I/O, as in `conversation`. How parts are joined depends on the output. Labels: the mean of the parts' log-odds.
Sets of labels: the strongest part for each label. Lists and spans: all of them, in the whole text's places. Numbers,
records and answers that may be missing: the part that has them. Other texts: the same task over what the parts came to
(map and reduce), or one after the other where the shots show that an answer is about as long as its text.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice
from statistics import fmean
from typing import Any

from fewshot.errors import InputError, OutputError, ServiceError
from fewshot.inference.conversation import ask
from fewshot.inference.label_scoring import known_answer
from fewshot.inference.question import Answer, Question, Talk, left_out
from fewshot.inference.voting import surest
from fewshot.models.connection import Connection
from fewshot.models.endpoint import EMBEDDED_CONTEXT
from fewshot.models.tokens import estimated_tokens, request_tokens
from fewshot.models.wire.service_errors import too_long
from fewshot.outputs.output import json_text
from fewshot.outputs.schema import OrNone
from fewshot.outputs.spans import Span, moved, source_text
from fewshot.prompts.cutting import BLOCK, cut, sums_of
from fewshot.result import Field
from fewshot.types import Completion, Request

__all__ = ["answered", "may_be_long", "planned", "sized"]

_MATTERS, _ASKED = 3_000, 12_000
"""Characters of a text from which on it counts how much the model holds, and from which on its service is asked once:
what is smaller than that is told by a refusal."""
_SPARE, _SPARE_COUNTED = 0.05, 0.01
"""Share of what a model holds that is left free, since tokens are estimated, or counted in blocks."""
_LEAST = 48
"""Tokens of the smallest part that is worth asking about: where the shots leave less, nothing is cut."""
_AS_LONG = 0.5
"""From this share of its text on, an answer is one that goes along with the text, such as a translation."""
_TRIES = 6
"""How often a text is asked about, each time in smaller parts, while its service refuses them as too long."""
_TINY = 1e-6
_NOTE = 'The text may be a part of a longer one. Answer "none" if it does not say.'
_NOTE_FIELDS = "The text may be a part of a longer one. Write null for what it does not say."


@dataclass(frozen=True, slots=True)
class Part:
    """A question about a part of the text, and where the part begins in the whole."""

    question: Question
    start: int


Answers = Sequence[tuple[Part, Answer]]


def may_be_long(question: Question) -> bool:
    """Tell whether a text is long enough for it to matter how many tokens the model holds."""
    settings = question.settings
    long = bool(settings.context_tokens or len(_longest(question.inputs)[1]) >= _MATTERS)
    return settings.long == "cut" and long and known_answer(question) is None


async def sized(question: Question, connection: Connection) -> Question:
    """Give a question with how many tokens its model holds, where that may matter."""
    _label_of_any_part(question)
    if not may_be_long(question):
        return question
    facts, window = connection.facts, question.settings.context_tokens or EMBEDDED_CONTEXT * connection.local
    if not window and len(_longest(question.inputs)[1]) >= _ASKED:
        window = await facts.holds(connection.client, connection.model)
    question = replace(question, window=window or facts.window or 0)
    count = getattr(connection.client, "tokens_of", None) if question.window else None
    if not count or question.request().most_tokens + question.longest_answer <= question.window:
        return question
    text = _longest(question.inputs)[1]
    blocks = [text[start : start + BLOCK] for start in range(0, len(text), BLOCK)]
    return replace(question, counted=tuple(await count(_about("", _of_parts(question)).request(), blocks)))


def answered(question: Question) -> Talk:
    """Answer a question; in parts where its text is, or turns out to be, longer than the model holds."""
    parts, window = _parts(question), question.window
    for tries_left in reversed(range(_TRIES)):
        try:
            return (yield from (_in_parts(question, parts, window) if parts else ask(question)))
        except ServiceError as error:
            told = too_long(error)
            if told is None or not tries_left or question.settings.long == "refuse":
                raise
            ours = _weight(parts[0].question if parts else question)  # it has more tokens than these
            window = int(min(told, ours / (1.5 if parts else 1.2)) if told else ours / 2)
            parts = _parts(question, window)
            if not parts:
                raise
            question.windows.extend([told] if told else [])
            question.completions.extend(error.beside)
    raise AssertionError("the last try returns or raises")


def _in_parts(question: Question, parts: Sequence[Part], window: int) -> Talk:
    """Ask about each part, all side by side, and join what they come to."""
    way = _way(question)
    question.of_parts.append(parts[0].question.request())
    try:
        came = yield from _in_step([ask(part.question) for part in parts])
    finally:
        for part in parts:
            for name in ("completions", "thoughts", "refusals"):
                getattr(question, name).extend(getattr(part.question, name))
    lost = [(part.start, error) for part, error in zip(parts, came, strict=True) if isinstance(error, OutputError)]
    kept = [(part, answer) for part, answer in zip(parts, came, strict=True) if isinstance(answer, Answer)]
    may_lack = way in ("one", "record", "list") and bool(kept)
    fatal = (error for _, error in lost if not may_lack or error.reason in ("content_filter", "refusal"))
    if (first := next(fatal, None)) is not None:
        raise first
    warnings = [f"read in {len(parts)} parts, since the text is longer than the model holds"]
    if way == "reduce":
        joint = yield from answered(_reduced(question, [answer.value for _, answer in kept], window))
    else:
        joint = _JOIN[way](question, kept)
    if joint.calibration != "none":
        warnings.append("the fit is one of whole texts: how sure an answer from parts is was not fitted")
    if lost:
        places = ", ".join(f"{start:,}" for start, _ in lost)
        warnings.append(f"no valid answer from {len(lost)} of the parts (from character {places} on): {lost[0][1]}")
        joint = replace(joint, confidence=None)  # nothing tells what they hold
    of_parts = (warning for _, answer in kept for warning in answer.warnings)
    warnings = list(dict.fromkeys([*warnings, *joint.warnings, *of_parts]))
    return replace(joint, parts=len(parts), warnings=tuple(warnings))


def planned(question: Question) -> list[Question]:
    """Give the questions that come of one: itself, or its parts and what is asked about their answers."""
    parts = _parts(question)
    if not parts:
        return [question]
    more = []
    if _way(question) == "reduce":
        shown = [question.output.render(e.output) for e in question.prompt.examples] or ["word " * 100]
        with suppress(OutputError):  # of few parts, which may come to less than what the shots show
            more = planned(_reduced(question, list(islice(cycle(shown), len(parts))), question.window))
    return [*(part.question for part in parts), *more]


# -- apart ------------------------------------------------------------------------------------------------------------


def _longest(inputs: Mapping[str, Any]) -> tuple[str, str]:
    """Give the name and the text of the longest input; the others are in every part as they are."""
    texts = [(name, value) for name, value in inputs.items() if isinstance(value, str)]
    return max(texts, key=lambda each: len(each[1]), default=("", ""))


def _weight(question: Question) -> float:
    """Give the tokens of a question: counted, or estimated on the safe side."""
    request = question.request()
    texts = [turn.content for turn in request.chat] if request.text is None else [request.text]
    return sum(question.counted) or sum(estimated_tokens(text) + 4 for text in texts)


def _way(question: Question) -> str:
    """Tell how the answers of parts are joined."""
    output: Any = question.output
    if output.labels is not None:
        return "set" if output.several else "labels"
    if output.kind == "schema" and output.root in ("array", "object"):
        return "list" if output.root == "array" else "record"
    if output.kind != "text" or output.optional:
        return "one"
    return "along" if _length_of_answers(question) >= _AS_LONG else "reduce"


def _length_of_answers(question: Question) -> float:
    """Give how long the answers of the shots are as a share of their texts."""
    shots = question.prompt.examples
    texts = sum(estimated_tokens(_longest(shot.inputs)[1]) for shot in shots)
    return sum(estimated_tokens(question.output.render(shot.output)) for shot in shots) / texts if texts else 0.0


def _parts(question: Question, window: int = 0) -> list[Part]:
    """Cut the text of a question; nothing where it fits, or the rest of the prompt leaves no room for a part.

    Arguments:
        window: what the model holds, in tokens as they are estimated, where the whole question has been refused.
    """
    whole, refused, window = question.request(), bool(window), window or question.window
    longest = min(whole.max_tokens or question.longest_answer, window // 3)
    tokens = sum(question.counted) or request_tokens(whole).likely
    if not window or (not refused and tokens + longest <= window):
        return []
    base, text, counted = _of_parts(question), _longest(question.inputs)[1], question.counted[1:]
    rest = question.counted[0] if counted else _weight(_about("…", base))
    most = window * (1 - (_SPARE_COUNTED if counted else _SPARE)) - longest - rest
    along = _way(question) == "along"
    if along:
        most = min(most, longest / max(1.0, _length_of_answers(question)) * (1 - 2 * _SPARE))
    if most < _LEAST:
        return []
    places, sums = cut(text, most, counted, overlap=not along), sums_of(text, counted)
    of_each = [(rest + sums[end] - sums[start],) if counted else () for start, end in places]
    parts = [Part(_about(text[start:end], base, n), start) for (start, end), n in zip(places, of_each, strict=True)]
    return parts if len(parts) > 1 else []


def _of_parts(question: Question) -> Question:
    """Give the question as it is asked of parts, which may have no answer to it."""
    way, output, prompt = _way(question), question.output, question.prompt
    if way == "record" or (way == "one" and output.kind != "text"):
        prompt = replace(prompt, output=OrNone(output), note=_NOTE_FIELDS if way == "record" else _NOTE)
    return replace(question, prompt=prompt, window=0)


def _about(part: str, question: Question, counted: tuple[float, ...] = ()) -> Question:
    """Ask a question about a part of its text."""
    own: dict[str, Any] = {"completions": [], "thoughts": [], "refusals": []}
    inputs = {**question.inputs, _longest(question.inputs)[0]: part}
    return replace(question, inputs=inputs, counted=counted, **own)


def _in_step(
    talks: Sequence[Talk],
) -> Generator[tuple[Request, ...], tuple[Completion, ...], list[Answer | OutputError]]:
    """Hold conversations side by side: what they ask next goes together; a failure of the service reaches all."""
    done: dict[int, Answer | OutputError] = {}
    came: dict[int, Any] = dict.fromkeys(range(len(talks)))
    while came:
        asked: dict[int, tuple[Request, ...]] = {}
        for place, reply in came.items():
            talk = talks[place]
            try:
                asked[place] = talk.throw(reply) if isinstance(reply, ServiceError) else talk.send(reply)
            except StopIteration as end:
                done[place] = end.value
            except OutputError as error:
                done[place] = error
        if not asked:
            break
        try:
            replies = iter((yield tuple(chain.from_iterable(asked.values()))))
        except ServiceError as error:
            came = dict.fromkeys(asked, error)
        else:
            came = {place: tuple(islice(replies, len(requests))) for place, requests in asked.items()}
    return [done[place] for place in range(len(talks))]


def _reduced(question: Question, texts: Sequence[str], window: int) -> Question:
    """Ask the same about what the parts came to.

    Raises:
        OutputError: that is about as long as the text was, so that it would go on without end.
    """
    name, text = _longest(question.inputs)
    joined = "\n\n".join(texts)
    if estimated_tokens(joined) > 0.8 * estimated_tokens(text):
        raise OutputError("the answers for the parts are together about as long as the text: lower max_tokens")
    return replace(question, inputs={**question.inputs, name: joined}, window=window, counted=())


# -- together ---------------------------------------------------------------------------------------------------------


def _least(sure: Iterable[float | None]) -> float | None:
    """Give the lowest confidence; None where one is missing."""
    found = [*sure]
    return None if None in found else min(c for c in found if c is not None)


def _labels(question: Question, answers: Answers) -> Answer:
    """Give the label with the highest mean of log-odds; where a part is sure of another one, that much less sure."""
    given = [answer for _, answer in answers]
    every = [answer.probabilities for answer in given if answer.probabilities]
    if len(every) < len(given):
        said = [answer.value for answer in given]
        every = [{label: said.count(label) / len(said) for label in question.output.labels or ()}]
    wins = _label_of_any_part(question)
    if wins is not None and (said := [answer for answer in given if answer.value == wins]):
        surest_one = max(said, key=lambda answer: answer.confidence or 0.0)
        return replace(surest_one, warnings=(f"{len(said)} of {len(given)} parts say {wins!r}",))
    means = {label: fmean(math.log(max(p[label], _TINY)) for p in every) for label in every[0]}
    total = math.fsum(map(math.exp, means.values()))
    shares = {label: math.exp(mean) / total for label, mean in means.items()}
    if wins is not None:  # no part says it: it is as likely as where it is likeliest, and the others share the rest
        top = max(p[wins] for p in every)
        rest = (1 - top) / max(1 - shares[wins], _TINY)
        shares = {label: top if label == wins else share * rest for label, share in shares.items()}
    value, *rivals = sorted((label for label in shares if label != wins), key=shares.__getitem__, reverse=True)
    tied = bool(rivals) and math.isclose(shares[value], shares[rivals[0]])
    own = max(p[value] for p in every)
    other = max((p[label] for p in every for label in shares if label != value), default=0.0)
    sure = min(shares[value], own / (own + other))
    if len(every) == len(given):
        sure = min(sure, max(answer.confidence or 0.0 for answer in given))
    others = sum(answer.value != value for answer in given)
    disagree = (f"{others} of {len(given)} parts say another label",) if others else ()
    found = replace(given[0], value=value, probabilities=shares, confidence=sure, warnings=disagree)
    return _held_back(found) if tied else found


def _held_back(answer: Answer) -> Answer:
    """Abstain: which of the values is given would be decided by their order alone."""
    why = "held back: the parts say different things, and none is likelier than all others"
    return replace(answer, held_back=True, warnings=(why, *answer.warnings))


def _label_of_any_part(question: Question) -> str | None:
    """Give the label that a text has as soon as a part has it, if there is one.

    Raises:
        InputError: it is none of the labels, or the output is not one of some labels.
    """
    wanted, output = question.settings.any_part, question.output
    if wanted is None:
        return None
    if output.labels is None or output.several or len(output.labels) < 2:
        raise InputError(f"any_part={wanted!r} needs labels as output, one of which is given", field="any_part")
    try:
        found: str = output.check(wanted)
    except InputError as error:
        raise InputError(f"any_part: {error}", field="any_part") from error
    return found


def _set(question: Question, answers: Answers) -> Answer:
    """Give every label that a part gives, each as likely as in the part where it is likeliest."""
    given = [answer for _, answer in answers]
    value = tuple(label for label in question.output.labels or () if any(label in a.value for a in given))
    every = [answer.probabilities for answer in given if answer.probabilities]
    if len(every) < len(given):
        return replace(given[0], value=value, probabilities=None, confidence=_least(a.confidence for a in given))
    shares = {label: max(p[label] for p in every) for label in every[0]}
    sure = math.prod(p if label in value else 1 - p for label, p in shares.items())
    return replace(given[0], value=value, probabilities=shares, confidence=sure)


def _list(question: Question, answers: Answers) -> Answer:
    """Give all that the parts list, once; of spans with one label, those that lie in another one are left out."""
    source = source_text(question.inputs)
    shifts = _longest(question.inputs)[1] == source
    lists = [moved(answer.value, part.start) if shifts else answer.value for part, answer in answers]
    items = _distinct(chain.from_iterable(lists))
    if items and all(isinstance(item, Span) for item in items):
        outer: list[Span[Any]] = []
        for span in sorted(items, key=lambda span: (span.start, -span.end)):
            if not any(o.label == span.label and o.start <= span.start and span.end <= o.end for o in outer[-8:]):
                outer.append(span)
        items = outer
    try:
        value = question.output.check(type(lists[0])(items))
    except InputError as error:
        raise OutputError(f"what the parts list is together not valid: {error}") from error
    return replace(answers[0][1], value=value, confidence=_least(a.confidence for _, a in answers))


def _distinct(items: Iterable[Any]) -> list[Any]:
    """Give each once, in their order; what cannot be a key is compared as it is shown."""
    return list({repr(item): item for item in items}.values())


def _one(question: Question, answers: Answers) -> Answer:
    """Give the value of the part that has one; of several values the surest, and less sure by the others."""
    said = [answer for _, answer in answers if answer.value is not None]
    if not said:
        if question.output.kind != "text":
            with suppress(OutputError):
                return replace(answers[0][1], value=question.output.parse("null"))
            raise OutputError("no part of the text says it", reason="empty", raw="none")
        return min((answer for _, answer in answers), key=lambda answer: answer.confidence or 0.0)
    place, sure, several, tied = surest([(answer.value, answer.confidence) for answer in said])
    values = ", ".join(dict.fromkeys(f"{answer.value!r:.40}" for answer in said))
    told = (f"the parts say {several} different things: {values}",) if several > 1 else ()
    value, missing = question.output.placed(said[place].value, question.inputs)
    found = replace(said[place], value=value, confidence=sure, warnings=(*told, *left_out(missing)))
    return _held_back(found) if tied else found


def _record(question: Question, answers: Answers) -> Answer:
    """Give a record of the fields that the parts have: lists together, of other values the surest."""
    merged: dict[str, Any] = {}
    fields: dict[str, Field] = {}
    doubts: list[str] = []
    tied = False
    given = [answer for _, answer in answers if isinstance(answer.value, dict)]
    for name in dict.fromkeys(chain.from_iterable(answer.value for answer in given)):
        having = [answer for answer in given if answer.value.get(name) not in (None, "", [], {})]
        if not having:
            merged[name] = next(answer.value[name] for answer in given if name in answer.value)
            continue
        known = [(a.fields or {}).get(name) for a in having]
        said = [
            (a.value[name], a.confidence if f is None else f.confidence) for a, f in zip(having, known, strict=True)
        ]
        if all(isinstance(value, list) for value, _ in said):
            merged[name], place = _distinct(chain.from_iterable(value for value, _ in said)), 0
            sure, several = _least(sure for _, sure in said), 1
        else:
            place, sure, several, equal = surest(said)
            tied = tied or equal
            merged[name] = said[place][0]
        about = known[place]
        if about is not None:
            chances = about.probabilities if several == 1 else None
            fields[name] = replace(about, value=merged[name], confidence=sure, probabilities=chances)
        if several > 1:
            doubts.append(f"the parts say {several} different things of {name!r}")
    sure = _least(one.confidence for one in [*fields.values()] or given or [answers[0][1]])
    value, missing = question.output.placed(_validated(question, merged), question.inputs)
    told = (*doubts, *left_out(missing))
    found = replace(answers[0][1], value=value, confidence=sure, fields=fields or None, warnings=told)
    return _held_back(found) if tied else found


def _validated(question: Question, merged: Mapping[str, Any]) -> Any:
    """Read what the parts have together as the record that is wanted: what they lack is left out, or null.

    Raises:
        OutputError: no part has what the record cannot do without.
    """
    try:
        return question.output.parse_json(json_text({n: value for n, value in merged.items() if value is not None}))
    except OutputError:
        return question.output.parse_json(json_text(merged))


def _along(question: Question, answers: Answers) -> Answer:  # noqa: ARG001 - as for the others
    """Put texts one after the other, as their parts stand."""
    asked = [_longest(part.question.inputs)[1] for part, _ in answers]
    texts = [f"{a.value}{text[len(text.rstrip()) :]}" for text, (_, a) in zip(asked, answers, strict=True)]
    return replace(answers[0][1], value="".join(texts).strip(), confidence=_least(a.confidence for _, a in answers))


_JOIN = {"labels": _labels, "set": _set, "list": _list, "record": _record, "one": _one, "along": _along}
