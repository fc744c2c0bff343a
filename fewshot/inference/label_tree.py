"""The probability of each label, read from the log-probabilities at the answer's place.

A token that begins exactly one label counts for it. A token that begins several is settled by asking what follows it,
so that no mass is counted twice (Zhao et al. 2021, arXiv 2102.09690, sums over single-token label names; this extends
it to any label strings). What the labels hold together before renormalising is the coverage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from fewshot.types import TokenLogprob

__all__ = ["LabelTree", "Open", "mean_logprob"]

_NEGLIGIBLE = 0.005
"""Share of the covered mass below which what follows a shared token is not asked, but split in proportion."""
_SELDOM = 0.1
"""Mass below which what follows a blank is not asked."""
_LEAST = 1e-9
_LEADING = b" \t\r\n"
_WRAPPING = _LEADING + b"\"'`*_#>([{<-"
"""What models put before an answer, and tokenizers into one token with its beginning."""
_ENDS = frozenset(b" \t\r\n.,;:!?\"'`*)]}<")
_CODE = b" \t\r\n.:*)"


@dataclass(frozen=True, slots=True)
class Open:
    """Mass on a text that begins several labels: which of them is meant depends on what follows."""

    text: bytes
    mass: float


@dataclass
class LabelTree:
    """Collects probability mass for labels, token by token.

    Arguments:
        words: for each label the string that the model is to write.
        blanks: what may stand before it.
        codes: what may be all that is written for a label, its word's beginning.
    """

    words: Mapping[str, str]
    mass: dict[str, float] = field(default_factory=dict)
    open: list[Open] = field(default_factory=list)
    floor: float = 0.0
    """Upper bound of the mass of anything that was not listed."""
    blanks: bytes = _LEADING
    codes: Mapping[str, str] = field(default_factory=dict)
    blank: float = 0.0
    """Mass of tokens that are nothing but blanks: any label may follow these."""

    def __post_init__(self) -> None:
        self.words, self._spelled, self.fold, self._begins = _spelling(tuple(self.words.items()))
        self.mass = dict.fromkeys(self.words, 0.0)

    def add(
        self, position: TokenLogprob, after: Open | None = None, *, rest: bytes | None = None, cut: bool = False
    ) -> None:
        """Count the likeliest tokens at one position: the answer's first, or the one that follows `after`.

        Arguments:
            rest: what was written after the token itself; None where that is not known. A token that begins one label
                counts for nothing where something else was written: "I" is not "Information" in "I cannot".
            cut: the rest is not all that would have been written.
        """
        listed = position.top or ((position.token, position.logprob),)
        written, share = (after.text, after.mass) if after else (b"", 1.0)
        masses = [math.exp(logprob) for _, logprob in listed]
        for (token, _), mass in zip(listed, masses, strict=True):
            if token and not written and not token.strip(self.blanks):
                self.blank += mass * share
            text = self._text(written, token)
            if text[:1] not in self._begins:  # most tokens begin no label at all
                continue
            chosen = rest is not None and token == position.token
            if chosen and not self._goes_on(text, self._text(written, token + (rest or b"")), cut=cut):
                continue
            self._count(written, text, mass * share)
        if after is None:
            self.floor = min(masses[-1], max(0.0, 1.0 - math.fsum(masses)))

    def begins(self, token: bytes) -> bool:
        """Tell whether a token begins a label."""
        text = self._text(b"", token)
        return bool(text) and bool(self._begun_by(text))

    def spells(self, written: bytes, text: bytes) -> bool:
        """Tell whether what was written is a folded text."""
        return self._text(b"", written) == text

    def _text(self, written: bytes, token: bytes) -> bytes:
        if written:
            return self.fold(written + token)
        text = self.fold(token.lstrip(_LEADING))
        return text if text[:1] in self._begins else text.lstrip(_WRAPPING)

    def _goes_on(self, text: bytes, whole: bytes, *, cut: bool) -> bool:
        """Tell whether what was written as a whole is the label that its first token begins, or one of several."""
        labels = self._begun_by(text)
        if len(labels) != 1:
            return True
        word = self._spelled[labels[0]]
        if (cut and word.startswith(whole)) or self.fold(self.codes.get(labels[0], "").encode()) == whole.strip(_CODE):
            return True
        return whole.startswith(word) and (
            len(whole) == len(word) or whole[len(word)] in _ENDS or whole[len(word)] > 127
        )

    def next_open(self) -> Open | None:
        """Give the heaviest shared beginning that still has to be asked about, and take it off the list.

        Many tokenizers write a digit after a token for the space. What follows a blank is asked first, and only where
        it weighs more than all the labels without it, since elsewhere these tell enough.
        """
        if self.blank > max(self.coverage, _SELDOM):
            blank, self.blank = Open(b"", self.blank), 0.0
            return blank
        worth = _NEGLIGIBLE * self.coverage
        heaviest = max(self.open, key=lambda o: o.mass, default=None)
        if heaviest is None or heaviest.mass <= worth:
            return None
        self.open.remove(heaviest)
        return heaviest

    def spread(self, shared: Open) -> None:
        """Split mass that cannot be settled over the labels it may belong to, in proportion to what they have.

        A label that is all of the text has none of its own yet: it gets everything where longer ones have, since these
        then begin with tokens of their own. Where none has any, the mass is dropped.
        """
        labels = self._begun_by(shared.text)
        total = math.fsum(self.mass[label] for label in labels)
        if not shared.text or total <= 0:  # nothing tells these labels apart, so that this is not a reading of any
            return
        if (whole := self._finished(shared.text)) is not None:
            self.mass[whole] += shared.mass
            return
        for label in labels:
            self.mass[label] += shared.mass * self.mass[label] / total

    def as_written(self, folded: bytes) -> str | None:
        """Give the beginning of a label as the label spells it.

        Where the cut falls inside a character, that is the whole of it if all labels that begin so have the same one,
        and else None.
        """
        begun = self._begun_by(folded) if folded else []
        for label in begun:
            word = self.words[label]
            for length in range(1, len(word) + 1):
                spelled = self.fold(word[:length].encode())
                if spelled == folded:
                    return word[:length]
                if len(spelled) >= len(folded) and all(self._spelled[other].startswith(spelled) for other in begun):
                    return word[:length]
        return None if folded else ""

    @property
    def coverage(self) -> float:
        """Probability mass that the labels hold together, from 0 to 1."""
        return min(1.0, math.fsum(self.mass.values()) + (math.fsum(o.mass for o in self.open) if self.open else 0.0))

    @property
    def likeliest(self) -> str:
        """The label with the most mass."""
        return max(self.mass, key=self.mass.__getitem__)

    def logprobs(self) -> dict[str, float]:
        """Give the natural-log probability of each label, renormalised over the labels.

        A label that was not among the listed tokens gets the largest mass that it could have had unlisted, which is
        always less than that of the likeliest label that was.
        """
        for shared in self.open:
            self.spread(shared)
        self.open.clear()
        read = max(self.mass.values())
        floor = min(max(self.floor, _LEAST), 1e-3, read / 2 or 1.0)
        masses = {label: max(mass, _LEAST) if mass else floor for label, mass in self.mass.items()}
        total = math.fsum(masses.values())
        return {label: math.log(mass / total) for label, mass in masses.items()}

    def _count(self, written: bytes, text: bytes, mass: float) -> None:
        labels = self._begun_by(text)
        if len(labels) > 1 and text != written:
            self._open(text, mass)
        elif len(labels) == 1 and text != written:
            self.mass[labels[0]] += mass
        elif (finished := self._finished(text)) is not None:
            self.mass[finished] += mass

    def _open(self, text: bytes, mass: float) -> None:
        for position, shared in enumerate(self.open):
            if shared.text == text:
                self.open[position] = Open(text, shared.mass + mass)
                return
        self.open.append(Open(text, mass))

    def _begun_by(self, text: bytes) -> list[str]:
        whole = text if text.isascii() else text.decode("utf-8", "ignore").encode()
        part = text[len(whole) :]
        return [
            label
            for label, word in self._spelled.items()
            if word.startswith(text)
            or (part and word.startswith(whole) and _capital(word[len(whole) :], self.fold).startswith(part))
        ]

    def _finished(self, text: bytes) -> str | None:
        """Find the longest label that the text has written out in full before ending or going on with other words."""
        done = [
            label
            for label, word in self._spelled.items()
            if text.startswith(word) and (len(text) == len(word) or text[len(word)] in _ENDS)
        ]
        return max(done, key=lambda label: len(self._spelled[label]), default=None)


@lru_cache(maxsize=256)
def _spelling(
    words: tuple[tuple[str, str], ...],
) -> tuple[dict[str, str], dict[str, bytes], Callable[[bytes], bytes], frozenset[bytes]]:
    """Give labels as they are written and as they are compared, how that is done, and how they begin; for all calls."""
    written = {label: word.strip() for label, word in words}
    spelled, fold = {label: _fold(word.encode()) for label, word in written.items()}, _fold
    if len(set(spelled.values())) < len(spelled):  # labels that differ only by case
        spelled, fold = {label: word.encode() for label, word in written.items()}, _same
    begins = frozenset(form[:1] for word in spelled.values() for form in (word, _capital(word, fold)))
    return written, spelled, fold, begins


def _capital(word: bytes, fold: Callable[[bytes], bytes]) -> bytes:
    """Give the first character as a capital where case does not count: a part of one differs, and is not folded."""
    first = word.decode("utf-8", "ignore")[:1]
    return (first if fold is _same else first.upper()).encode()


def _fold(token: bytes) -> bytes:
    """Fold case without touching a token that is only a part of a character."""
    if token.isascii():
        return token.lower()
    return token.decode("utf-8", "surrogateescape").casefold().encode("utf-8", "surrogateescape")


def _same(token: bytes) -> bytes:
    return token


def mean_logprob(tokens: Sequence[TokenLogprob]) -> float | None:
    """Give the mean natural-log probability of the generated tokens; None when the endpoint gave none."""
    return math.fsum(t.logprob for t in tokens) / len(tokens) if tokens else None
