"""What models put round an answer: invisible characters, fences, quotes, a repeated cue, hedges and denials.

Small functions from text to text, each linear in its input, used by every output kind.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from math import isfinite
from typing import Any

__all__ = [
    "MAX_ANSWER",
    "bare",
    "blocks",
    "cue_name",
    "denies",
    "distinct_fold",
    "drop_cue",
    "enclosed",
    "excerpt",
    "fold",
    "json_in",
    "json_objects",
    "leads_to",
    "not_the_answer",
    "sentences",
    "squeeze",
    "states",
    "tidy",
    "unquote",
    "without_run_on",
]

MAX_ANSWER = 200_000
"""Characters beyond which an answer is no longer searched for a label or a number: no such answer is meant."""

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
# Controls, soft hyphen, zero-width space, bidi marks, byte order mark, lone surrogates and tag characters. The two
# joiners U+200C and U+200D stay, since Persian and emoji need them inside a word.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_LINE_ENDS = re.compile("\r\n?|\u2028|\u2029")
_BLANK = (
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u202f\u205f\u3000\u200c\u200d"
)


def tidy(text: str) -> str:
    """Drop what cannot be seen (controls, terminal codes, broken characters) and the blanks at both ends."""
    if not (text.isascii() and text.isprintable()):
        text = _LINE_ENDS.sub("\n", _UNSEEN.sub("", _TERMINAL.sub("", text)))
        text = unicodedata.normalize("NFC", text)
    return text.strip(_BLANK)


def fold(text: str) -> str:
    """Give the form in which two texts are the same answer: case, width, apostrophe and spacing aside."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(text.replace("’", "'").replace("\u200c", "").replace("\u200d", "").split())


def distinct_fold(words: Iterable[str]) -> Callable[[str], str]:
    """Choose the most forgiving comparison under which the words stay distinct: `fold`, else spacing alone."""
    words = list(words)
    return fold if len({fold(word) for word in words}) == len(words) else squeeze


def squeeze(text: str) -> str:
    """Normalise composition and spacing only."""
    return " ".join(unicodedata.normalize("NFC", text).split()) or text


_QUOTES = "\"'“”„‟‘’‚‛«»‹›「」『』"
_LEADING = _BLANK + _QUOTES + "`*_#>([{<:：=→•"
_TRAILING = _BLANK + _QUOTES + "`*_)]}>.,;:!。！，、；…"
_BULLET = re.compile(r"[-–—]\s+")


def bare(text: str) -> str:
    """Strip quotes, brackets, markdown and final punctuation from both ends, however they are nested."""
    text = text.strip(_BLANK)
    bullet = _BULLET.match(text)
    return text[bullet.end() if bullet else 0 :].lstrip(_LEADING).rstrip(_TRAILING)


def cue_name(cue: str) -> str:
    """Give the words of a cue: `Sentiment` for `"**Sentiment:** "`."""
    return cue.strip().rsplit("\n", 1)[-1].strip("*_: ：")


@lru_cache(maxsize=256)
def _cue_pattern(name: str) -> re.Pattern[str]:
    colon = r"[*_ \t]*[:：]" if name[-1].isalnum() else r"[*_ \t]*[:：]?"
    return re.compile(rf"[*_#> \t]*{re.escape(name)}{colon}[*_ \t]*", re.IGNORECASE)


def drop_cue(text: str, cue: str) -> str:
    """Cut a repeated cue from the start of an answer."""
    name = cue_name(cue)
    found = _cue_pattern(name).match(text) if name else None
    return text[found.end() :].lstrip() if found else text


_FENCE = re.compile(r"`{3,}|~{3,}")


def blocks(text: str) -> list[tuple[str, str]]:
    """Find the fenced blocks of an answer as pairs of language and content; an unclosed one counts for none."""
    found: list[tuple[str, str]] = []
    mark, language = "", ""
    inside: list[str] = []
    for line in text.split("\n"):
        line_text = line.strip()
        if not mark:
            opening = _FENCE.match(line_text)
            if opening is None:
                continue
            rest = line_text[opening.end() :]
            if rest.endswith(opening[0]):
                language, _, content = rest[: -len(opening[0])].rpartition(" ")
                found.append((language, content))
            else:
                mark, language, inside = opening[0], rest.strip(), []
        elif line_text.startswith(mark) and not line_text.strip(mark[0]):
            found.append((language, "\n".join(inside)))
            mark = ""
        else:
            inside.append(line)
    return found


def enclosed(text: str) -> tuple[str, str] | None:
    """Give the one fenced block, as language and content, when it is the whole of the answer."""
    opening = _FENCE.match(text)
    if opening is None or not text.endswith(opening[0]):
        return None
    found = blocks(text)
    return found[0] if len(found) == 1 else None


_PAIRS = [(pair[0], pair[1]) for pair in ('""', "''", "“”", "„“", "„”", "‘’", "«»", "‹›", "「」", "『』", "``")]


def unquote(text: str) -> str:
    """Take off quotes or bold marks that enclose the whole text as one; leave `"A" and "B"` alone."""
    for opening, closing in [*_PAIRS, ("**", "**")]:
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening + closing):
            inner = text[len(opening) : -len(closing)]
            if opening not in inner and closing not in inner and inner.strip():
                return inner.strip()
    if text.startswith('"') and text.endswith('"') and '\\"' in text:
        value = json_in(text)
        return value if isinstance(value, str) and value.strip() else text
    return text


def json_in(text: str) -> object:
    """Read a text that is JSON and nothing else.

    None when it is not, is `null`, holds an infinite number, or gives one key two values.
    """
    from pydantic_core import from_json

    try:
        value: object = from_json(text, allow_inf_nan=False)
        if "{" in text:
            json.loads(text, object_pairs_hook=_agreeing)
    except ValueError:
        return None
    return value if _finite(value) else None


def _agreeing(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs) and any(found[key] != value for key, value in pairs):
        raise ValueError("a key with two values")
    return found


def _finite(value: object) -> bool:
    """Tell whether all numbers are finite: the parser reads `1e400` as infinity even when told to refuse that."""
    if isinstance(value, dict | list):
        return all(map(_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or isfinite(value)


_BRACKETS = {"{": re.compile(r'\\.|["{}]', re.DOTALL), "[": re.compile(r'\\.|["\[\]]', re.DOTALL)}


def json_objects(text: str, opening: str = "{") -> list[tuple[str, Any]]:
    """Find the JSON objects (or lists, by `[`) that stand in a text, outermost ones, each as its source and its value.

    The same object written twice is given once.
    """
    found: dict[str, Any] = {}
    depth = start = 0
    quoted = False
    for mark in _BRACKETS[opening].finditer(text):
        sign = mark[0]
        if quoted:
            quoted = sign != '"'
        elif sign == opening:
            start = start if depth else mark.start()
            depth += 1
        elif depth and sign == '"':
            quoted = True
        elif depth and sign in "}]":
            depth -= 1
            if not depth:
                source = text[start : mark.end()]
                value = json_in(source)
                if isinstance(value, dict | list) and value not in found.values():
                    found[source] = value
    return list(found.items())


# A single stop (no ellipsis) before a word that begins no lower-case word; so "It is not... positive" stays one.
_STOP = re.compile(r"(?<![.…])[.!?](?![.!?…])[\"'”’»)\]*_`]*(?=\s+[^a-z\s])|[。！？]")


def sentences(text: str) -> list[str]:
    """Split a text into sentences, each with its stop. Line ends alone end no sentence."""
    found, start = [], 0
    for stop in _STOP.finditer(text):
        found.append(text[start : stop.end()].strip())
        start = stop.end()
    return [sentence for sentence in (*found, text[start:].strip()) if sentence]


_DENIALS = re.compile(
    r"n't\b|\b(?:(?:do|does|did|is|was|are|were|ca|wo|could|would|should)nt"
    r"|not|no|never|neither|nor|none|nothing|nobody|cannot|non|hardly|barely|scarcely|seldom|rarely|without|except"
    r"|unlike|unlikely|opposite|contrary|lack|lacks|lacking|absence|devoid|fails?|failed|wrong|incorrect|untrue"
    r"|doubt|doubts|doubtful|maybe|perhaps|possibly|vielleicht|peut-être|quizás?|talvez|forse|возможно|anything\s+but|far\s+from|rather\s+than|instead\s+of|other\s+than|less\s+than"
    r"|opposed\s+to|rules?\s+out|ruled\s+out|exclud\w+"
    r"|ne|pas|aucune?|jamais|ni|nicht|kein\w*|weder|nie|niemals|sin|nunca|tampoco|não|niet|geen|falsch"
    r"|не|нет|ни|ikke|inte|değil|không|안|nem|není|nu|tidak|bukan|δεν|όχι|לא|لا)\b"
    r"|\bn'|不|没|沒|并非|並非|而非|无|無|非|否|未|难|難|ない|ません|なく|がた[いく]|かねる"
    r"|아니|아닌|아닙|아님|아닐|아냐|않|못|없|별로|아마|어렵|힘들|也许|也許|或许|たぶん|かもしれ|ليس|غير|नहीं|ไม่",
    re.IGNORECASE,
)


def denies(text: str) -> bool:
    """Tell whether a text holds a word that denies something, in English or another large language."""
    return _DENIALS.search(text.replace("’", "'")) is not None


def excerpt(text: str, length: int = 60) -> str:
    """Quote the beginning of an answer for an error message, on one line."""
    return repr(text if len(text) <= length else text[:length] + "…")


_NOUN = (
    r"(?:answers?|sentiments?|labels?|categor(?:y|ies)|class(?:es|ification)?|topics?|tones?|emotions?|moods?|options?|choices?"
    r"|verdict|prediction|results?|ratings?|scores?|grades?|types?|tags?|intent(?:ion)?|stance|review|text|statement"
    r"|sentence|comment|message|ticket|opinion|feeling|polarity|one|stars?|points?|articles?|documents?|posts?|tweets?|headlines?|emails?|news|kategorie|klasse|classe"
    r"|catégorie|categoría|categoria|категори[яи]|класс)"
)
_FILLER = (
    rf"(?:{_NOUN}(?:\ of)?|an?|the|this|very|clearly|strongly|overall|mostly|mainly|generally|definitely|predominantly"
    r"|overwhelmingly|primarily|distinctly|entirely|purely|certainly|obviously|moderately|mildly|slightly|somewhat"
    r"|rather|quite|fairly|highly|extremely|largely|likely|probably|most|best|simply|just|exactly|only|about"
    r"|eine?|der|die|das|eher|sehr|une?|la|le|el|très|plutôt|muy|uma?|muito|molto|очень|zeer|mycket)"
)
_CLAIM = (
    r"(?:(?<=\w)'s|is|are|was|were|be|as|equals?|belongs?\ to|falls?\ (?:in|into|under)|relates?\ to|go(?:es)?\ with"
    r"|express(?:es|ing)?|convey(?:s|ing)?|indicates?|suggests?|reflects?|shows?|leans?|seems?|feels?|sounds?|appears?|means?"
    r"|(?:say|choose|chose|pick|select|answer|assign|call|give|rate|label|tag|mark|classify|consider|deem|find)(?:e?d|s)?"
    r"(?:\ (?:it|this|that|(?:the|this)\ \w+))?"
    r"|looks?\ like|has|have|discuss(?:es)?|ist|sind|wäre|als|est|sont|es|son|è|sono|é"
    r"|são|jest|är|er|zijn|este|это|является)"
)
_BEFORE = re.compile(
    r"(?:\A|\n|[:：=≈→⇒☑✅✔]|[=-]>|<[\w ]+>|\[[xX✓]\]|\\\w+\{|[\u2600-\u27bf\U0001f000-\U0001faff]\s|[,;.!—–-]\s"
    rf"|\b{_CLAIM}(?=\W))[\s\"'`*_#(\[{{«»‹›“”„‘’「」『』|]*(?:{_FILLER}[\s\"'`*_(\[«“„‘’「『#]+){{0,4}}\Z",
    re.IGNORECASE,
)
_AFTER = re.compile(
    rf"[\"'`*_)\]}}»›“”’」』]*(?:[- ](?:{_NOUN}|in\ (?:nature|tone)|overall|here)\b[\"'`*_)\]}}»”’]*)?"
    r"(?:\ (?:is|would\ be|seems?|fits?|applies)\ (?:the\ )?(?:right|correct|best|most)\b[^.,;]{0,40})?"
    r"(?:\Z|(?<=[)\]}])\s|(?<=[*_])\s\w+:|[.,](?!\s?\d)|[!;…。！，；、|<]|\n|\s[-–—(]"
    r"|\s(?:because|since|as|given|due|based|for|with|and|but|or|so|than|about|out\ of|einstufen|bewerten|einordnen)\b"
    r"|\s*[\u2600-\u27bf\U0001f000-\U0001faff]"
    r"|\s?[^\W\d_a-zA-Z\u00c0-\u058f]|:\s[^\W\d]{2,}\s\w)",
    re.IGNORECASE,
)
_SHARE = re.compile(
    r"[\"'`*]*(?:[\s:=(,|]|with|at|confidence|score|probability)*(\d+(?:[.,]\d+)?)\s?(%?)", re.IGNORECASE
)
_OPERATOR = re.compile(r"(?:[-–—−‑－﹣±~√≤≥^*/×+&]|(?<![-=\w])[<>])\s*\Z")
_DOUBT = re.compile(
    r"\b(?:if|whether|unless|(?:could|might|may)\ be|unknown"
    r"|hard\ to|difficult|stretch|used\ to|mistak\w+|disagree\w*|refus\w+|either|previous(?:ly)?"
    r"|claim(?:s|ed)\ (?:it|this|that|to)|alles\ andere|unclear|unsure|uncertain|unable|rejected|excluded)\b"
    r"|\boptions?\s*:|[비반불무](?=[a-z])|~~|</?(?:s|del|strike)>|[✗✘❌❎🚫☐☒]|\(\?\)",
    re.IGNORECASE,
)
_NEAR = 80


def states(part: str, start: int, end: int) -> bool:
    """Tell whether a sentence says what stands there as its answer: only where the words next to it are known to.

    There is no end of ways to deny, to doubt, and to speak of something else, so that no list of those is whole. In
    scripts without case, where words are not parted by blanks, nothing next to it tells.
    """
    if not _is_cased(part[end - 1]):
        return _DOUBT.search(part) is None
    after = part[end : end + _NEAR]
    share = None if part[start].isdigit() else _SHARE.match(after)
    if share is not None and float(share[1].replace(",", ".")) / (100 if share[2] else 1) < 0.5:
        return False
    return leads_to(part, start) and (share is not None or _AFTER.match(after) is not None)


def leads_to(part: str, start: int) -> bool:
    """Tell whether what stands before a place in a sentence is known to lead to its answer, and nothing doubts it."""
    before = ("…" if start > _NEAR else "") + part[max(0, start - _NEAR) : start]
    if _DOUBT.search(part) or (part[start].isdigit() and _OPERATOR.search(before)):
        return False
    key = _KEY.search(before)
    if key is not None and not_the_answer(key[1]):
        return False
    near = before.rstrip(_LEADING)[-1:]
    return (near.isalpha() and not _is_cased(near)) or _BEFORE.search(before) is not None


def _is_cased(sign: str) -> bool:
    return not sign.isalpha() or sign.lower() != sign.upper()


_NOT_THE_ANSWER = re.compile(
    r"(?:reject\w*|exclu\w*|previous\w*|second|other|alternatives?|runner\w*|examples?|options?|was|old|if|errors?"
    r"|confidence|probability|certainty|min(?:imum)?|max(?:imum)?|at[ _](?:least|most)|steps?|index|id|usage|tokens)"
    r"(?![^\W_])",
    re.IGNORECASE,
)
_KEY = re.compile(r"(?:\A|\n)\W*([\w ]{1,40})[:：=]\W*\Z")


def not_the_answer(key: str) -> bool:
    """Tell whether the key of a JSON object says that what it holds is something else than the answer."""
    return _NOT_THE_ANSWER.match(key) is not None or denies(key.replace("_", " "))


_FIELD = re.compile(r"(?!(?:final|answer|edit|correct|label|result|so|wait|actually)\b)[\w ]{1,40}[:：]", re.IGNORECASE)


def without_run_on(text: str, cue: str) -> str:
    """Cut the next example that a model goes on to invent: the line of a field, and then one that repeats the cue."""
    lines = text.split("\n")
    repeated = next((n for n, line in enumerate(lines) if n and drop_cue(line, cue) != line), 0)
    begins = next((n for n, line in enumerate(lines[:repeated]) if _FIELD.match(line)), len(lines))
    return "\n".join(lines[:begins])
