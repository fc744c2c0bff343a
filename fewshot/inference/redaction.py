"""Private data replaced before anything is sent, and put back into the answer.

Equal finds get the same placeholder (`[EMAIL_1]`), so that the text still makes sense to the model. What a detector
does not find is sent: look at `fewshot show`, or at the audit log, before you rely on it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fewshot._checks import brief
from fewshot._environment import missing
from fewshot.errors import InputError
from fewshot.outputs.spans import mapped

__all__ = ["PATTERNS", "Detector", "Find", "Redacted", "detectors_of", "presidio", "redact"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Find:
    """Private data from one position of a text to another (counted in characters), and its kind."""

    start: int
    end: int
    kind: str


Detector = Callable[[str], Iterable[Find]]
"""Finds private data in a text."""

PATTERNS: Mapping[str, str] = {
    "email": r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "secret": r"\b(?:sk|pk|ghp|gho|xox[abp])[-_][A-Za-z0-9_-]{16,}\b",
    "iban": r"\b[A-Za-z]{2}\d{2}(?:[ \u00a0-]?[A-Za-z0-9]){11,30}\b",
    "ssn": r"\b(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b",
    "resident": r"\b\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-?[1-8]\d{6}\b",
    "card": r"\b\d(?:[ -]?\d){12,18}\b",
    "ip": r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
    "phone": r"(?<![\w.])\+?\d{1,3}?[ .-]?\(?\d{2,4}\)?(?:[ .-]\d{2,4}){2,4}\b",
}
"""What `redact=True` looks for, in the order of precedence."""


_GAP = re.compile("[ \u00a0-]")
_NEXT = re.compile("[ \u00a0-](?=\\w{4})")
_PLACEHOLDER = re.compile(r"\[\w+_\d+\]")


@dataclass
class Redacted:
    """Placeholders given out for one call, to be put back."""

    taken: frozenset[str] = frozenset()
    """What looks like a placeholder and stands in the inputs themselves."""
    originals: dict[str, str] = field(default_factory=dict)
    """The original of each placeholder."""
    _given: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _counts: Counter[str] = field(default_factory=Counter, init=False, repr=False)

    def placeholder(self, original: str, kind: str) -> str:
        """Give the placeholder for a find; the same one for the same find."""
        known = self._given.get(original)
        if known is None:
            name = re.sub(r"\W", "_", kind.upper())
            while known is None or known in self.taken:
                self._counts[name] += 1
                known = f"[{name}_{self._counts[name]}]"
            self._given[original] = known
            self.originals[known] = original
        return known

    def restore(self, value: T, source: str = "") -> T:
        """Put the originals back into a value: a text, or a record of texts; spans in `source` move with them."""
        if not self.originals:
            return value

        def original(one: Any) -> Any:
            if isinstance(one, str):
                found = _PLACEHOLDER.sub(lambda mark: self.originals.get(mark[0], mark[0]), one)
                return one if found == one else found
            text, start = original(one.text), len(original(source[: one.start]))
            return replace(one, text=text, start=start, end=start + len(text))

        restored: T = mapped(value, original)
        return restored


def redact(inputs: Mapping[str, Any], detectors: Iterable[Detector]) -> tuple[dict[str, Any], Redacted]:
    """Replace private data in the texts among some inputs.

    Returns:
        The inputs with placeholders, and what puts the originals back.
    """
    detectors = tuple(detectors)
    if not detectors:
        return dict(inputs), Redacted(frozenset())
    kept = Redacted(frozenset(_PLACEHOLDER.findall(repr(dict(inputs)))))
    return {name: _redact_in(value, detectors, kept) for name, value in inputs.items()}, kept


def _redact_in(value: Any, detectors: tuple[Detector, ...], kept: Redacted) -> Any:
    if isinstance(value, str):
        return _redact_text(value, detectors, kept)
    if isinstance(value, Mapping):
        return {_redact_in(k, detectors, kept): _redact_in(inner, detectors, kept) for k, inner in value.items()}
    return [_redact_in(inner, detectors, kept) for inner in value] if isinstance(value, list) else value


def detectors_of(wanted: Any) -> tuple[Detector, ...]:
    """Read the `redact` option: True for all patterns, names of patterns, a detector, or a list of these.

    Raises:
        InputError: it is none of them.
    """
    if not wanted:
        return ()
    if wanted is True:
        return tuple(map(_pattern, PATTERNS))
    items = [wanted] if isinstance(wanted, str) or callable(wanted) else list(wanted)
    return tuple(item if callable(item) else _pattern(item) for item in items)


def presidio(language: str = "en", *, threshold: float = 0.5) -> Detector:
    """Make a detector of Microsoft Presidio (`pip install 'fewshot[redact]'`), which also finds names and places.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        from presidio_analyzer import AnalyzerEngine
    except ImportError as error:
        raise missing("redaction by Presidio needs an extra", "redact") from error
    engine = AnalyzerEngine()

    def detect(text: str) -> list[Find]:
        found = engine.analyze(text=text, language=language, score_threshold=threshold)
        return [Find(item.start, item.end, item.entity_type) for item in found]

    return detect


def _pattern(name: object) -> Detector:
    if not isinstance(name, str):
        raise InputError(f"redact: {name!r} is neither a pattern's name nor a function", field="redact")
    if name not in PATTERNS:
        raise InputError(f"redact: no pattern {name!r}; there are {', '.join(PATTERNS)}", field="redact")
    compiled, holds = re.compile(PATTERNS[name]), _CHECKS.get(name)

    def detect(text: str) -> Iterator[Find]:
        place = 0
        while (found := compiled.search(text, place)) is not None:
            start, end = found.span()
            if holds is not None:  # what follows a number may look as if it went on
                ends = (end, *(start + gap.start() for gap in reversed([*_GAP.finditer(found[0])])))
                end = next((e for e in ends if compiled.fullmatch(text, start, e) and holds(text[start:e])), start)
            if end > start:
                yield Find(start, end, name)
                place = end
            else:
                further = _NEXT.search(text, start, found.end())
                place = further.end() if further else found.end()

    return detect


def _is_iban(found: str) -> bool:
    """Check the two digits after the country (ISO 7064, mod 97-10, as ISO 13616 says)."""
    signs = [sign for sign in found.upper() if sign.isalnum()]
    return int("".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])) % 97 == 1


def _is_resident(found: str) -> bool:
    """Tell a Korean resident number by its hyphen or its check digit, which those given out since 2020 lack."""
    digits = [int(sign) for sign in found if sign.isdigit()]
    weighted = sum(weight * digit for weight, digit in zip((2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), digits, strict=False))
    return "-" in found or (11 - weighted % 11) % 10 == digits[-1]


def _redact_text(text: str, detectors: Iterable[Detector], kept: Redacted) -> str:
    """Replace the finds, the longest first where they overlap."""
    found = sorted((f for detect in detectors for f in _finds(detect, text)), key=lambda f: (f.start, f.start - f.end))
    parts, done = [], 0
    for find in found:
        if find.start >= done:
            parts += [text[done : find.start], kept.placeholder(text[find.start : find.end], find.kind)]
            done = find.end
    return "".join([*parts, text[done:]])


def _finds(detect: Detector, text: str) -> list[Find]:
    """Give what a detector finds; raises InputError where a function of the caller's own does not what it should."""
    name = getattr(detect, "__name__", type(detect).__name__)
    try:
        found = list(detect(text))
    except Exception as error:
        raise InputError(f"redact: {name} failed ({type(error).__name__}: {error!s:.80})", field="redact") from error
    for find in found:
        places = (getattr(find, "start", None), getattr(find, "end", None))
        if not (all(type(p) is int for p in places) and isinstance(getattr(find, "kind", None), str)):
            raise InputError(f"redact: {name} gave {brief(find)}: give each find as a `Find`", field="redact")
        if not 0 <= find.start < find.end <= len(text):
            raise InputError(f"redact: {name} gave {brief(find)}, which is not in the text", field="redact")
    return found


def _is_card(digits: str) -> bool:
    """Check the last digit of a card number (Luhn, ISO/IEC 7812-1, annex B)."""
    numbers = [int(d) for d in reversed(digits) if d.isdigit()]
    doubled = (sum(divmod(2 * n, 10)) for n in numbers[1::2])
    return (sum(numbers[::2]) + sum(doubled)) % 10 == 0


_CHECKS: Mapping[str, Callable[[str], bool]] = {"iban": _is_iban, "resident": _is_resident, "card": _is_card}
"""By their check digits, numbers that a pattern alone cannot tell from others."""
