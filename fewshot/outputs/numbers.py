r"""Read the one number that an answer comes to, or refuse: never a guess.

Of several numbers the answer is the one that the text concludes with: `#### 4`, `\boxed{4}`, "the answer is 4",
"2 + 2 = 4", "So he has 4 left." Without a conclusion, with two, or where it is denied, the answer is refused.
How single numbers are read stands in `fewshot.outputs.numerals`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import pairwise

from fewshot._wording import (
    MAX_ANSWER,
    cue_name,
    denies,
    drop_cue,
    excerpt,
    json_objects,
    leads_to,
    not_the_answer,
    sentences,
    tidy,
    without_run_on,
)
from fewshot.errors import OutputError
from fewshot.outputs.cjk_numerals import in_digits
from fewshot.outputs.numerals import Numeral, Value, find_numerals

__all__ = ["literal_number", "read_number"]

_PLAIN = re.compile(r"-?[0-9]{1,18}")
_SPACED = re.compile(r"[-−]?\d{1,3}(?: \d{3})+(?:[.,]\d+)?")
_WANTED = "answer with one number only"


def read_number(text: str, cue: str = "") -> Value:
    """Give the number that an answer comes to; raises OutputError when it has none, several or a denied one."""
    if _PLAIN.fullmatch(text):
        return int(text)
    answer = _simplify(drop_cue(tidy(text), cue))
    if not answer:
        raise OutputError(f"the answer is empty; {_WANTED}", reason="empty", raw=text)
    try:
        if len(answer) > MAX_ANSWER:
            raise ValueError("the answer is far too long")
        return _conclusion(in_digits(answer), cue)
    except ValueError as refused:
        message = f"{refused}: {excerpt(tidy(text))}; {_WANTED}"
        raise OutputError(
            message, reason="ambiguous" if isinstance(refused, _UnclearError) else "invalid", raw=text
        ) from None


def literal_number(text: str) -> Value | None:
    """Give the number that a text is as a whole, as `"1,234.50"`; None when it is anything else."""
    answer = _simplify(tidy(text))
    if _SPACED.fullmatch(answer):
        answer = answer.replace(" ", "")
    try:
        answer = in_digits(answer)
        found = list(find_numerals(answer))
    except ValueError:
        return None
    return found[0].value if len(found) == 1 and (found[0].start, found[0].end) == (0, len(answer)) else None


class _UnclearError(ValueError):
    """The answer holds numbers, but which one is meant cannot be told."""


_AROUND = " \n\t\"'“”‘’«»"
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d{1,20})\}\{(\d{1,20})\}")


def _simplify(text: str) -> str:
    text = _LATEX_FRACTION.sub(r"\1/\2", text).replace("{,}", ",").replace("\\,", "").replace("\u2044", "/")
    for mark in ("**", "__", "`", "$$", "\\(", "\\)", "\\[", "\\]", "\\$", "\\%"):
        text = text.replace(mark, mark[1] if mark in ("\\$", "\\%") else " ")
    return text.lstrip(_AROUND).rstrip(_AROUND + ".")


_BOUND = re.compile(r"\b(?:at (?:least|most)|than|up to|m(?:in|ax)\.)\W{0,3}\Z", re.IGNORECASE)
_NEAR = 24
"""Characters that are looked at before a number: with all that stands before each of many numbers it takes seconds."""
_LEADS = re.compile(
    r"\b(?:has|had|have|costs?|takes?|took|pay|mentions|lautet|gets?|got|makes?|made|earn(?:s|ed)?|spen(?:ds|t)"
    r"|pa(?:ys|id)|s(?:ells|old)|left|gives?|there (?:are|is|were|was)"
    r"|(?<!\bi )(?<!\bwe )(?:must|will|would|should|can|needs to|has to) \w+|needs|requires?|weigh(?:s|ed)?"
    r"|travel(?:s|led|ed)|walk(?:s|ed)|runs?|ran|drives?|drove|waits?|buys?|bought|eats?|ate|uses?|used"
    r"|saves?|saved|collect(?:s|ed)|bak(?:es|ed)|scor(?:es|ed)|receiv(?:es|ed)|ow(?:es|ed)|contains?|holds?|lasts?"
    r"|(?:total|sum|product) of|(?:comes?|adds? up|amounts?) to"
    r"|approximately|around|roughly|ca\.|environ|etwa)\s+(?:an?|the|only|exactly)?\W*\Z|(?<!~)[~≈]\s?\Z|[=:(]\s*[-−]\s+\Z",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"\s?\+(?!\s?\d)|\s?or (?:more|less|fewer|so)\b|\s?,?[-–—]+(?!\s?\d|\s\w)|-?(?:ish|odd)\b"
    r"|\s(?:plus|below|under)\W*\Z|\.?\s?(?:uhr|o'clock|p\.m|a\.m)\b|\.?\s(?-i:Jan|Feb|Mar|Apr|May|Mai|Jun|Jul|Aug|Sep|Oct|Okt|Nov|De[cz])\w{0,6}\b"
    r"|\s?[×x*]\s?10[⁰-⁹²³¹]",
    re.IGNORECASE,
)
_ITEM = re.compile(r"\d{1,3}(?:[.]\Z|[)]\s)")
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th)\b", re.IGNORECASE)
_MARKED = re.compile(r"\\boxed\s?\{([^{}]*)\}|^[ \t]*####([^\n]*)$", re.MULTILINE)


def _conclusion(answer: str, cue: str) -> Value:
    """Try the ways in which an answer names its result, from the plainest to the loosest."""
    marked = [boxed or hashed for boxed, hashed in _MARKED.findall(answer)]
    if marked:
        return _agreed(map(_only, marked))
    if "{" in answer and (fields := _json_fields(answer, cue)):
        return _agreed(map(_only, fields))
    if (alone := literal_number(answer)) is not None:
        return alone
    values = _values(answer)
    if not values:
        raise ValueError("the answer holds no number")
    parts = sentences(answer)
    if len(values) == 1:
        if len(parts) > 1 and _ITEM.match(parts[0]):
            raise _UnclearError("the answer begins with the number of an item")
        return _agreed(_only(part) for part in parts if _values(part))
    if (alone := _on_own_line(answer, cue)) is not None:
        return alone
    if (stated := _stated(parts, cue)) is not None:
        return stated
    return _reasoned(parts)


def _values(text: str) -> set[Value]:
    return {numeral.value for numeral in find_numerals(text)}


def _only(text: str) -> Value:
    """Give the one number of a text that says nothing else of it: no bound, date, name or sum, and no doubt."""
    found = list(find_numerals(text))
    said = "".join(
        _ORDINAL.sub("", text[one.end : two.start]) for one, two in zip([_START, *found], found, strict=False)
    )
    rest = said + _ORDINAL.sub("", text[found[-1].end :]) if found else ""
    clear = (
        len({numeral.value for numeral in found}) == 1
        and not any(map(str.isdigit, rest))
        and not (denies(text) or text.endswith("?") or text.startswith("- ") or _ITEM.match(text))
        and not any(_GOES_ON.match(text, numeral.end) for numeral in found)
        and all(
            any(sign.isalpha() or sign == "(" for sign in text[one.end : two.start]) for one, two in pairwise(found)
        )
        and any(_leads_to(text, numeral.start) for numeral in found)
    )
    if not clear:
        raise _UnclearError("the answer names no single number, or does not say that it is the one")
    return found[0].value


_START = Numeral(0, 0, 0)


def _leads_to(text: str, start: int) -> bool:
    before = text[max(0, start - _NEAR) : start]
    return not _BOUND.search(before) and (_LEADS.search(before) is not None or leads_to(text, start))


def _agreed(values: Iterable[Value]) -> Value:
    distinct = set(values)
    if len(distinct) > 1:
        raise _UnclearError("the answer concludes with several numbers")
    return distinct.pop()


def _json_fields(answer: str, cue: str) -> list[str]:
    """Give the value under the telling key of the JSON in an answer, or all values where no key tells."""
    objects = json_objects(answer)
    as_written = (json.loads(source, parse_float=str, parse_int=str) for source, _ in objects)  # keeps every digit
    fields = {key.casefold(): str(value) for held in as_written for key, value in held.items()}
    keys = ("answer", "result", "value", "number", cue_name(cue).casefold())
    telling = [fields[key] for key in keys if key in fields][:1]
    if fields and not any(key for key in fields if not not_the_answer(key)):
        raise _UnclearError("the answer names no number as its result")
    return list(fields.values()) if len(objects) > 1 or not telling else telling


def _on_own_line(answer: str, cue: str) -> Value | None:
    """Give the number that is the first line, before run-on text, or the last line, after some reasoning."""
    answer = without_run_on(answer, cue)
    lines = [line for line in answer.split("\n") if line.strip()]
    if len(lines) < 2:
        return literal_number(answer)
    first, (before, last) = literal_number(lines[0]), map(literal_number, lines[-2:])
    if first is not None:
        return first if not lines[1].lstrip()[0].islower() and _values("\n".join(lines[1:])) <= {first} else None
    return last if before is None else None


_STEP = re.compile(r"=|≈|→|\b(?:equals?|equal\s+to|makes|gives|yields|comes\s+to|amounts\s+to)\b", re.IGNORECASE)
_OPERATION = re.compile(
    r"\b(?:plus|minus|times|over|divided|multiplied|sum|product|difference|quotient|total|result)\b"
    r"|[+×*/÷−-]\s*\d",
    re.IGNORECASE,
)
_COPULA = re.compile(r"\b(?:is|are|was|were)\b", re.IGNORECASE)
_THEREFORE = re.compile(
    r"\b(?:so|therefore|thus|hence|consequently|altogether|overall|finally|in\s+total|in\s+all|total|result|left)\b",
    re.IGNORECASE,
)
_OPTIONS = re.compile(r"\b(?:or|either|between|oder|ou)\b", re.IGNORECASE)
_REASON = re.compile(r"\b(?:because|since)\b", re.IGNORECASE)


def _stated(parts: list[str], cue: str) -> Value | None:
    """Give the number that an answer calls its answer; all that it calls so must agree."""
    name = cue_name(cue)
    own = rf"|^{re.escape(name)}[ \t]*[:：=]" if name else ""
    call = re.compile(rf"\banswer\b[^\n]{{0,60}}?(?:\bis\b|\bequals\b|:|=){own}", re.IGNORECASE | re.MULTILINE)
    found: set[Value] = set()
    for part in parts:
        calls = list(call.finditer(part))
        ends = [match.start() for match in calls[1:]] + [len(part)]
        tails = [part[match.end() : end] for match, end in zip(calls, ends, strict=False)]
        told = [tail for tail in tails if _values(tail)]
        if told and denies(part):
            raise _UnclearError("the answer names a number but seems to deny it")
        found.update(map(_result, told))
    return _agreed(found) if found else None


def _reasoned(parts: list[str]) -> Value:
    """Give the result of the last sentence that draws one; no number after it may say otherwise."""
    later: set[Value] = set()
    for index in range(len(parts) - 1, -1, -1):
        part = parts[index]
        values = _values(part)
        if values and (_STEP.search(part) or _THEREFORE.search(part) or _told_after(part)):
            value = _result(part)
            if later <= {value} and not _one_of_several(value, parts[:index], part):
                return value
            break
        later |= values
    raise _UnclearError("the answer holds several numbers and no clear result")


def _result(part: str) -> Value:
    """Give the number that a sentence comes to: what follows its last equals sign, or its only number."""
    steps = [match.end() for match in _STEP.finditer(part)]
    claim = part if steps else _REASON.split(part, maxsplit=1)[0]
    told = claim[steps[-1] if steps else _told_after(claim) :]
    numerals = list(find_numerals(told))
    values = {numeral.value for numeral in numerals}
    if steps and values and _right_there(told, numerals[0]):
        values = {numerals[0].value}
    if len(values) != 1 or denies(part) or _OPTIONS.search(part):
        raise _UnclearError("the answer holds several numbers and no clear result")
    return values.pop()


def _right_there(told: str, numeral: Numeral) -> bool:
    """Tell whether a number stands right behind the equals sign and begins no sum: "= 60 meters in 4 seconds"."""
    line, _, below = told[numeral.end :].partition("\n")
    after = line.lstrip()
    adjacent = not told[: numeral.start].strip() and after[:1].isalpha() and not _OPERATION.match(after)
    return adjacent and _values(below) <= {numeral.value}


_CLAUSE = re.compile(r"[,;]\s|\n|\band\b")


def _one_of_several(value: Value, before: list[str], part: str) -> bool:
    """Tell whether a result is one of several that stand side by side, as in "x = 4, y = 5"."""
    steps = list(_STEP.finditer(part))
    if not steps or _THEREFORE.search(part):
        return False
    start = part[: steps[-1].start()]
    computed = _values(_CLAUSE.split(start)[-1])
    others = [text for text in (*before, start) if _STEP.search(text)]
    return not computed and bool(others) and all(value not in _values(text) for text in others)


def _told_after(part: str) -> int:
    """Find where "2 plus 2 is" ends: the copula after the last operation; 0 when there is none."""
    operations = [match.end() for match in _OPERATION.finditer(part)]
    copula = _COPULA.search(part, operations[-1]) if operations else None
    return copula.end() if copula else 0
