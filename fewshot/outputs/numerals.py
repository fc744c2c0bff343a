"""Find the numbers of a text, in digits and in words, with their exact values.

* `1,234` and `1.234.567` are grouped thousands; `1.234` and `3,5` are decimal fractions; where both signs occur the
  last one is the decimal sign (`1,234.50`, `1.234,50`).
* Currency signs, units and `%` are dropped: `12%` is 12. `k`, `M`, `B` right behind the digits multiply, and so do
  scale words of several languages: million, lakh, crore, dozen, Milliarden, milliards. After a word that multiplies and
  is not understood, or with a fraction in words ("two and a half"), the answer is refused.
* `3/4` and `¾` are 0.75. Ordinals, dates, versions, and names such as `A4` or `GPT-4`, are not numbers.
* Whole numbers become `int`, written fractions `Decimal` with all their digits, and `float` only what has an exponent
  or a fraction that never ends.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from fractions import Fraction

from fewshot.outputs.scales import (
    BEFORE,
    EUROPEAN,
    FOREIGN,
    FRACTIONS,
    MONEY,
    SCALES,
    SUFFIXES,
    VAGUE,
    factor_of,
    multiplies,
)

__all__ = ["MAX_DIGITS", "Numeral", "Value", "find_numerals"]

Value = int | float | Decimal

MAX_DIGITS = 1000
"""Digits of the longest number that is read; Python refuses to print an int of more than 4,300."""


@dataclass(frozen=True, slots=True)
class Numeral:
    """A number and where in the text it stands."""

    value: Value
    start: int
    end: int
    scale: int = 1
    """What a scale word or suffix has multiplied it by."""


_TOKEN = re.compile(
    r"(?P<sign>[-−–+])?(?P<money>(?:(?:us)?[$€£¥₩₹]|\b(?:rs\.?|inr|usd|eur|gbp|krw|jpy|cad|aud))\s?)?(?P<sign2>[-−])?"
    r"(?:(?P<whole>\d{1,20})?(?P<vulgar>[¼½¾⅐-⅞])"
    r"|(?P<fraction>(?:\d{1,20}\s)?\d{1,20}/\d{1,20})(?![\d/])"
    r"|(?P<digits>\d+(?:[.,'’\u00a0\u2009\u202f_]\d+)*|(?<![\d.])\.\d+)"
    r"(?P<exponent>e[-+−]?\d+|\s?[×x*]\s?10\^\{?[-−+]?\d+\}?)?)"
    r"(?P<suffix>[^\W\d_]+)?(?:\s?%)?"
    r"|(?P<word>[^\W\d_]+)",
    re.IGNORECASE,
)
_Tokens = list[re.Match[str]]


def find_numerals(text: str) -> Iterator[Numeral]:
    """Find the numbers of a text, from left to right; raises ValueError for one that is too long or too large."""
    tokens = list(_TOKEN.finditer(text))
    at = 0
    last: Numeral | None = None
    last_end = -1
    while at < len(tokens):
        written = tokens[at]["word"] is None
        found, used = _written(text, tokens, at) if written else _spoken(text, tokens, at)
        if found is not None:
            _refuse_fractions(text, tokens, at, used)
            start = _sign_word(text, tokens, at, last_end)
            found = found if start is None else replace(found, value=_negative(found.value), start=start)
            joined = _joined(text, last, found)
            if last is not None and joined is None:
                yield last
            last = joined or found
        elif not written:
            _refuse_scale(text, tokens, at)
        if found is not None or written:
            last_end = found.end if found else tokens[at].end()
        at += used
    if last is not None:
        yield last


def _joined(text: str, last: Numeral | None, found: Numeral) -> Numeral | None:
    """Add "50 thousand" to the "1 lakh" right before it; raises ValueError where it may belong to it or not."""
    if last is None or last.scale == 1 or not re.fullmatch(r"\s+(?:and\s+)?", text[last.end : found.start]):
        return None
    if 1 < found.scale < last.scale and found.value < last.scale:
        return Numeral(_plus(last.value, found.value), last.start, found.end, found.scale)
    if found.scale == 1 and "and" not in text[last.end : found.start]:
        raise ValueError("the answer holds a number that may be one or two")
    return None


def _plus(one: Value, other: Value) -> Value:
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    with localcontext(prec=2 * MAX_DIGITS):
        return Decimal(one) + Decimal(other)


def _negative(value: Value) -> Value:
    # Decimal's own minus rounds to 28 digits.
    return value.copy_negate() if isinstance(value, Decimal) else -value


def _times(value: Value, factor: int) -> Value:
    too_long = value.adjusted() > MAX_DIGITS if isinstance(value, Decimal) else abs(value) >= 10**MAX_DIGITS
    if too_long:
        raise ValueError(f"the number has more than {MAX_DIGITS:,} digits")
    if not isinstance(value, Decimal):
        return _finite(value * factor)
    with localcontext(prec=2 * MAX_DIGITS):
        product = value * factor
        return product if factor == 1 or product != product.to_integral_value() else Decimal(int(product))


def _finite(value: int | float) -> int | float:
    if isinstance(value, float) and math.isinf(value):
        raise ValueError("the number is too large")
    return value


def _word(tokens: _Tokens, at: int) -> str:
    return (tokens[at]["word"] or "").lower() if 0 <= at < len(tokens) else ""


def _sign_word(text: str, tokens: _Tokens, at: int, last_end: int) -> int | None:
    """Give the start of "minus" or "negative" where it is the sign of the number behind it, else None."""
    word = _word(tokens, at - 1)
    if word in _SIGN_WORDS:
        raise ValueError(f"{word!r} before a number is not understood")
    if word not in ("minus", "negative"):
        return None
    before = tokens[at - 1]
    subtracts = word == "minus" and last_end >= 0 and not text[last_end : before.start()].strip(" )%")
    joined = not text[before.end() : tokens[at].start()].strip()
    return before.start() if joined and not subtracts else None


# In digits ------------------------------------------------------------------------------------------------------------

_ORDINALS = frozenset({"st", "nd", "rd", "th"})
_NO_UNITS = frozenset({"ish", "am", "pm", "pi", "π"})
_SIGN_WORDS = frozenset("moins menos meno минус мінус eksi ناقص マイナス 마이너스 영하 零下 负 負".split())  # noqa: SIM905
"""Words for a minus, some of which mean something else too ("por lo menos")."""
_MINUS = str.maketrans("−–", "--")


def _written(text: str, tokens: _Tokens, at: int) -> tuple[Numeral | None, int]:
    """Read a number in digits, and the scale words behind it; gives it and the tokens that it took."""
    token = tokens[at]
    twice = token["sign"] and token["sign2"] and not token["money"]
    value = None if twice or _part_of_name(text, token) else _value(token)
    if value is None:
        return None, 1
    if _is_negative(text, token):
        value = _negative(value)
    suffix = token["suffix"] or ""
    _refuse_odd(token, suffix)
    scale, used, end = factor_of(suffix, bool(token["money"])), 1, token.end()
    if suffix and scale == 1 and multiplies(suffix):
        raise ValueError(f"{suffix!r} behind a number is not understood")
    if not suffix and re.fullmatch(r"\d{1,3}\.\d{3}", token["digits"] or "") and EUROPEAN.match(text, end):
        raise ValueError("the answer holds a number that may be grouped or a fraction")
    while not suffix and at + used < len(tokens) and not text[end : tokens[at + used].start()].strip(" \u00a0"):
        word = tokens[at + used]["word"] or ""
        factor = SCALES.get(word.lower(), 1) if len(word) > 2 else factor_of(word, bool(token["money"]))
        if factor == 1 and (multiplies(word) or word in ("k", "K", "M", "B", "T", "MM") or word.lower() in _NO_UNITS):
            raise ValueError(f"{word!r} behind a number is not understood")
        if factor == 1 or (word in SUFFIXES and word != "mn" and not MONEY.match(text, tokens[at + used].end())):
            if factor > 1:
                raise ValueError(f"{word!r} behind a number may be a unit")
            break
        if word in ("Billion", "Trillion") and value == 1:
            raise ValueError(f"{word!r} means different numbers in different languages")
        scale, end = scale * factor, tokens[at + used].end()
        used += 1
        if scale >= 10**MAX_DIGITS:
            raise ValueError(f"the number has more than {MAX_DIGITS:,} digits")
    return Numeral(_times(value, scale), token.start(), end, scale), used


def _refuse_odd(token: re.Match[str], suffix: str) -> None:
    """Raise ValueError for a time, a decade, or a price that may be grouped or a fraction: "5pm", "1990s", "$1.000"."""
    digits = token["digits"] or ""
    if suffix.lower() in _NO_UNITS or suffix == "T" or (suffix == "s" and len(digits) == 4):
        raise ValueError(f"{suffix!r} behind a number is not understood")
    if token["money"] and re.fullmatch(r"\d{1,3}\.\d{3}", digits):
        raise ValueError("the answer holds a number that may be grouped or a fraction")


def _refuse_fractions(text: str, tokens: _Tokens, at: int, used: int) -> None:
    """Raise ValueError for a number that is a part of a longer one: "two and a half", "trente-six"."""
    end = tokens[at + used - 1].end()
    if FRACTIONS.match(text, end):
        raise ValueError("the answer holds a fraction in words")
    spoken = tokens[at]["word"] is not None
    if spoken and multiplies(_word(tokens, at + used)):
        raise ValueError(f"{_word(tokens, at + used)!r} behind a number is not understood")
    before = text[max(0, tokens[at].start() - 16) : tokens[at].start()]
    if spoken and (BEFORE.search(before) or {_word(tokens, at - 1), _word(tokens, at + used)} & FOREIGN):
        raise ValueError("the answer holds a number that is only partly understood")


def _refuse_scale(text: str, tokens: _Tokens, at: int) -> None:
    """Raise ValueError for a scale word whose number was not understood, such as "deux mille"."""
    word = _word(tokens, at)
    if len(word) > 4 and multiplies(word):
        raise ValueError(f"{word!r} is not understood")
    if word not in SCALES or word.endswith("s"):
        return
    joined = not at or not text[tokens[at - 1].end() : tokens[at].start()].strip(" -")
    if joined and (not at or _word(tokens, at - 1) not in VAGUE):
        raise ValueError(f"the number before {word!r} is not understood")


def _part_of_name(text: str, token: re.Match[str]) -> bool:
    """Tell whether digits belong to a name, a date, an ordinal or a power."""
    before, after = text[token.start() - 1 : token.start()], text[token.end() : token.end() + 1]
    signed = token["sign"] is not None
    # Chinese and Japanese write no space before a number.
    in_word = before < "\u2e80" and (before.isalpha() if signed else before.isalnum() or before in ("_", "/"))
    in_date = after == "/" and text[token.end() + 1 : token.end() + 2].isdigit()
    suffix = token["suffix"] or ""
    powered = after.isnumeric() or any(map(str.isnumeric, suffix[:1]))
    return in_word or in_date or powered or suffix.lower() in _ORDINALS


def _is_negative(text: str, token: re.Match[str]) -> bool:
    """Tell whether a minus belongs to the number, and is not an operator: `-3`, `-$3`, `= - 3`, but not `5-3`."""
    before = text[max(0, token.start() - 16) : token.start()].translate(_MINUS)
    sign = ((token["sign"] or "") + (token["sign2"] or "")).translate(_MINUS)
    if "-" in sign:
        return not (before[-1:].isalnum() or before[-1:] in (")", "%"))
    return re.search(r"[=:(]\s*-\s+$", before) is not None


def _value(token: re.Match[str]) -> Value | None:
    if token["vulgar"]:
        part = Fraction(unicodedata.numeric(token["vulgar"])).limit_denominator(10)
        return _exact(part + int(token["whole"] or 0))
    if token["fraction"]:
        *whole, written = token["fraction"].split()
        top, bottom = map(int, written.split("/"))
        return _exact(Fraction(top, bottom) + sum(map(int, whole))) if bottom else None
    plain = _plain_digits(token["digits"])
    if plain is None:
        return None
    if len(plain) > MAX_DIGITS:
        raise ValueError(f"the number has more than {MAX_DIGITS:,} digits")
    if token["exponent"]:
        power = token["exponent"].lower().translate(_MINUS).rpartition("^")[2].strip("e{}")
        return _finite(float(f"{plain}e{power}"))
    return Decimal(plain) if "." in plain else int(plain)


def _exact(value: Fraction) -> Value:
    """Give a fraction as int or Decimal where it comes to an end, else as float."""
    if value.denominator == 1:
        return value.numerator
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest > 1:
        return float(value)
    with localcontext(prec=200):
        return Decimal(value.numerator) / value.denominator


_SEPARATOR = re.compile(r"[^\d]")


def _plain_digits(written: str) -> str | None:
    """Write digits as Python wants them, without groups; None for what is not a number, such as a version."""
    signs = _SEPARATOR.findall(written)
    if not signs:
        return written
    last = signs[-1]
    decimal = last in ".," and signs.count(last) == 1 and not (last == "," and _grouped(written, last))
    head, _, tail = written.rpartition(last) if decimal else (written, "", "")
    groups = set(_SEPARATOR.findall(head))
    if len(groups) > 1 or not all(_grouped(head, group) for group in groups):
        return None
    whole = _SEPARATOR.sub("", head) or "0"
    return f"{whole}.{tail}" if decimal else whole


def _grouped(written: str, sign: str) -> bool:
    """Tell whether digits are grouped as 1,234,567 or, the Indian way, 12,34,567."""
    first, *groups = written.split(sign)
    return (
        1 <= len(first) <= 3
        and first[0] != "0"
        and len(groups[-1]) == 3
        and all(len(group) == 3 or (len(group) == 2 and sign == ",") for group in groups)
    )


# In words -------------------------------------------------------------------------------------------------------------

_UNITS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "  # noqa: SIM905
        "seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)  # noqa: SIM905
}
_SAID = _UNITS.keys() | _TENS.keys() | SCALES.keys()
_BEFORE_ONE = frozenset(
    "is are was be s equals equal has have had only exactly makes gives gets leaves left minus negative plus".split()  # noqa: SIM905
)


def _spoken(text: str, tokens: _Tokens, at: int) -> tuple[Numeral | None, int]:
    """Read a number in words, as "one hundred and five" or "three point one four"."""
    value, used = _say(_number_words(text, tokens, at))
    if not used:
        return None, 1
    if used == 1 and _word(tokens, at) == "one" and len(tokens) > 1 and _word(tokens, at - 1) not in _BEFORE_ONE:
        return None, 1  # "the first one", "one of them"
    digits = ""
    if _word(tokens, at + used) == "point":
        after = (_UNITS.get(_word(tokens, index), 10) for index in range(at + used + 1, len(tokens)))
        for digit in after:
            if digit > 9 or len(digits) == MAX_DIGITS:
                break
            digits += str(digit)
    used += 1 + len(digits) if digits else 0
    exact = Decimal(f"{value}.{digits}") if digits else value
    scale = max((SCALES.get(_word(tokens, index), 1) for index in range(at, at + used)), default=1)
    while digits and (factor := SCALES.get(_word(tokens, at + used))):
        exact, scale, used = Decimal(_times(exact, factor)), scale * factor, used + 1
    return Numeral(exact, tokens[at].start(), tokens[at + used - 1].end(), scale), used


def _number_words(text: str, tokens: _Tokens, at: int) -> Iterator[str]:
    """Give the words from here that may belong to one number: joined by a space, a hyphen, or a comma after a scale."""
    word = ""
    for index in range(at, len(tokens)):
        before, word = word, _word(tokens, index)
        gap = text[tokens[index - 1].end() : tokens[index].start()].strip() if before else ""
        if gap not in ("", "-") and not (gap == "," and before in SCALES):
            return
        linking = (word == "a" and not before) or (word == "and" and before in SCALES)
        if word not in _SAID and not (linking and _word(tokens, index + 1) in _SAID):
            return
        yield word


def _say(words: Iterator[str]) -> tuple[int, int]:
    """Add up as many words as form one number; gives it and how many words it took (0 when there is none)."""
    total = current = used = 0
    room = 10**15
    for count, word in enumerate(words, start=1):
        opens = not used or (current % 100 == 0 and total + current > 0)
        scale = SCALES.get(word, 0)
        if word in ("and", "a"):
            current, used = (1, 1) if word == "a" else (current, used)
            continue
        if word in _UNITS and (opens or (current % 100 >= 20 and current % 10 == 0 and 0 < _UNITS[word] < 10)):
            current += _UNITS[word]
        elif word in _TENS and opens:
            current += _TENS[word]
        elif scale in (10, 12) and 0 < current < 100 and not total:
            return current * scale, count
        elif scale == 100 and 0 < current < 100:
            current *= scale
        elif scale > 100 and current and scale < room:
            total, current, room = total + current * scale, 0, scale
        else:
            break
        used = count
    return total + current, used
