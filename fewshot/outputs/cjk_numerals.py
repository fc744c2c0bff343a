"""Korean, Chinese and Japanese numerals in a text, written as digits: `3천5백`, `삼천오백`, `스물다섯`, `1.2億`."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

__all__ = ["in_digits"]

_DIGITS = {
    sign: number
    for signs in ("영일이삼사오육칠팔구", "공   륙", "零一二三四五六七八九", "〇 两", "  兩")
    for number, sign in enumerate(signs)
    if sign != " "
}
_DIGITS["륙"] = 6
_SMALL = {"십": 10, "백": 100, "천": 1000, "十": 10, "百": 100, "千": 1000}
_LARGE = {"만": 10**4, "억": 10**8, "조": 10**12, "경": 10**16, "万": 10**4, "萬": 10**4, "億": 10**8, "亿": 10**8}
_UNITS = "십백천만억조경"
_HAN_UNITS = "十百千万萬億亿"
_SINO = "영공일이삼사오육륙칠팔구"
_HAN = "零〇一二三四五六七八九两兩"
_COUNTED = "개|명|마리|권|살|번|잔|병|대|장|사람|시간"
_COUNTERS = f"{_COUNTED}|원|달러|유로|엔|위안|톤|년|회|세|분|초|일|킬로|미터|그램|리터|퍼센트|건|곳|가구|표"
_PARTICLES = "여|정도|이|은|는|을|를|의|에|도|로|으로|과|와|입니다|이다|이에요|예요|임|이며|이고"
_ENDS = rf"(?=\s?(?:{_COUNTERS})|(?:{_PARTICLES})(?![가-힣])|(?:입니다|이다|이에요|예요)|[^가-힣]|$)"
_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_WRITTEN = re.compile(
    rf"(?<![\w.,])(?:{_NUMBER}\s?[{_UNITS}]+\s?)(?:(?:{_NUMBER}|[{_SINO}])\s?[{_UNITS}]+\s?)*(?:{_NUMBER})?(?<!\s)"
    rf"|(?<![\d.,]){_NUMBER}[{_HAN_UNITS}]+(?:(?:{_NUMBER}|[{_HAN}])[{_HAN_UNITS}]+)*(?:{_NUMBER})?"
)
_SPOKEN = re.compile(
    rf"(?<![가-힣\d])(?=[{_SINO}{_UNITS}]*[{_UNITS}])[{_SINO}{_UNITS}]+(?:\s[{_SINO}{_UNITS}]+)*{_ENDS}"
    rf"|(?<![\w第])[{_HAN}十百千][{_HAN}{_HAN_UNITS}]*[{_HAN_UNITS}][{_HAN}{_HAN_UNITS}]*|(?<!\w)十[{_HAN}]"
)
_TENS = dict(zip("열 스물 서른 마흔 쉰 예순 일흔 여든 아흔".split(), range(10, 100, 10), strict=True)) | {"스무": 20}  # noqa: SIM905
_NATIVE = dict(zip("하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉".split(), range(1, 10), strict=True))  # noqa: SIM905
_NATIVE |= {"한": 1, "두": 2, "세": 3, "네": 4}
_OWN = re.compile(rf"(?<![가-힣])({'|'.join(_TENS)})?({'|'.join(_NATIVE)})?{_ENDS}(?P<counted>\s?(?:{_COUNTED}))?")
_HALVES = re.compile(r"분의|(?:\d|[가-힣])\s?반(?![가-힣])|(?:시간|개|년)\s?반(?:이|입|$|\W)|하고\s?반")
_ALONE = re.compile(rf"\s?(?:{_COUNTERS})?\s?(?:{_PARTICLES}|이에요|예요)?[.!\s]*")
_KILO = re.compile(r"千(?=[克米瓦卡])")


def in_digits(text: str) -> str:
    """Write the numerals of a text as digits.

    Raises:
        ValueError: one cannot be understood, or may be another word; then the text names no number for sure.
    """
    if text.isascii():
        return text
    if _HALVES.search(text) and re.search(rf"[\d{_SINO}{''.join(_NATIVE)}]", text):
        raise ValueError("the answer holds a fraction in words")
    text = _WRITTEN.sub(lambda found: _written(found, text), text)
    text = _SPOKEN.sub(lambda found: _spoken(found, text), text)
    return _OWN.sub(_native, text)


def _written(found: re.Match[str], text: str) -> str:
    after = text[found.end() :]
    if _KILO.search(found[0][-1:] + after[:1]):  # kilograms
        return found[0][:-1] + " " + found[0][-1:] if found[0][:-1].isdigit() else _refuse(found[0])
    before = text[found.start() - 1 : found.start()]
    if before == "제" or (found[0][-1] in _UNITS and not re.match(_ENDS, after)):
        _refuse(found[0])
    return _value(found[0]) + (" " if found[0][-1] not in _UNITS + _HAN_UNITS else "")


def _spoken(found: re.Match[str], text: str) -> str:
    said = found[0]
    korean = said[0] in _SINO + _UNITS
    alone = not re.search(r"\d", text) and _ALONE.fullmatch(text, found.end()) is not None
    if len(said) == 1 or (len(said) == 2 and said[0] in _UNITS + _HAN_UNITS and said[0] not in "십十"):
        counted = re.match(rf"\s?(?:{_COUNTERS})", text[found.end() :]) if korean else None
        return _value(said) if counted and said not in "조경" else said if not alone else _refuse(said)
    if len(said) == 2 and korean and not alone and not re.match(rf"\s?(?:{_COUNTERS})", text[found.end() :]):
        _refuse(said)
    if _KILO.search(said[-1] + text[found.end() : found.end() + 1]):
        _refuse(said)
    return _value(said)


def _native(found: re.Match[str]) -> str:
    tens, unit = found[1] or "", found[2] or ""
    if not tens and not unit:
        return found[0]
    plain = tens or (unit not in ("한", "두", "세", "네") and len(unit) > 0)
    if not (plain or found["counted"]) or (tens == "열" and not unit and not found["counted"]):
        return found[0]
    return str(_TENS.get(tens, 0) + _NATIVE.get(unit, 0)) + (found["counted"] or "")


def _refuse(said: str) -> str:
    raise ValueError(f"{said!r} may be a number or not")


def _value(said: str) -> str:
    """Add up a numeral; its units must fall, within a section and from section to section."""
    total = section = Fraction(0)
    current: Fraction | None = None
    small, large = 10**4, 10**20
    for part in re.findall(rf"{_NUMBER}|\S", said):
        if part in _SMALL and _SMALL[part] < small:
            small = _SMALL[part]
            section, current = section + (1 if current is None else current) * small, None
        elif part in _LARGE and _LARGE[part] < large:
            large, small = _LARGE[part], 10**4
            held = section + (current or 0)
            total, section, current = total + (held or 1) * large, Fraction(0), None
        elif current is None and part not in _SMALL and part not in _LARGE:
            current = Fraction(_DIGITS[part]) if part in _DIGITS else Fraction(Decimal(part.replace(",", "")))
            if current >= min(small, large):
                _refuse(said)
        elif current == 0 and part in _DIGITS:  # 一百零五
            current = Fraction(_DIGITS[part])
        else:
            _refuse(said)
    total += section + (current or 0)
    return str(total.numerator) if total.denominator == 1 else f"{Decimal(total.numerator) / total.denominator:f}"
