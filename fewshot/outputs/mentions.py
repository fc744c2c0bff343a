"""Where a name stands in a text: as it is written, else with its form aside, else at the nearest place.

What is aside is case, blanks, quotes, dashes, what cannot be seen, and the forms that Unicode has for one character.
Places count characters (code points) from 0, and none depends on how fast the machine is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property, lru_cache

__all__ = ["Mentions", "Place"]

Place = tuple[int, int]
_ALLOWED = 15
"""Percent of a name's characters in which the nearest place may differ from it."""
_WORK = 3_000_000
"""Steps of a search for the nearest place, beyond which a name is too common to have one."""
_EXACT = re.compile(r"\d|\b\w{1,4}\b")
"""What may not differ: in a word this short another letter makes another word ("Rob" of "Bob", "now" of "not")."""
_QUOTES, _DASHES = "\"'`´“”„‟‘’‚‛«»‹›「」『』", "‐‑‒–—―−"
_SAME = dict.fromkeys(map(ord, _QUOTES), "'") | dict.fromkeys(map(ord, _DASHES), "-")


class Mentions:
    """Finds names in one text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def of(self, name: str, *, exact: bool = False) -> Iterator[Place]:
        """Give the places of a name, the likeliest first; those that cut a word in two only where there are no others.

        Arguments:
            exact: only those where it stands as it is written.
        """
        seen: set[Place] = set()
        ways = (self._as_written,) if exact else (self._as_written, self._in_other_form)
        for cut in (False, True):
            for places in ways:
                for place in places(name.strip()):
                    if place not in seen and _cuts(self.text, *place) == cut:
                        seen.add(place)
                        yield place
            if seen:
                return
        nearest = None if exact else self._nearest(_folded(name)[0].strip())
        if nearest is not None:
            yield nearest

    def _as_written(self, name: str) -> Iterator[Place]:
        return ((at, at + len(name)) for at in _occurrences(name, self.text))

    @cached_property
    def _fold(self) -> tuple[str, list[Place]]:
        return _folded(self.text)

    def _in_other_form(self, name: str) -> Iterator[Place]:
        wanted = _folded(name)[0].strip()
        places = (self._unfolded(at, at + len(wanted)) for at in _occurrences(wanted, self._fold[0]))
        return (place for place in places if place is not None)

    def _unfolded(self, start: int, end: int) -> Place | None:
        """Give the place in the text of one in its folded form; None where that would cut a character in two."""
        places = self._fold[1]
        cut = any(0 < at < len(places) and places[at] == places[at - 1] for at in (start, end))
        return None if cut else (places[start][0], places[end - 1][1])

    def _nearest(self, name: str) -> Place | None:
        """Give the one place that differs least from a name, in few of its characters, in no digit and no short word.

        A place that is `allowed` edits away has one of `allowed + 1` pieces of the name as it is; it is near that.
        """
        text, allowed = self._fold[0], len(name) * _ALLOWED // 100
        if not allowed:
            return None
        size, regions = len(name) // (allowed + 1), set[int]()
        for offset in range(0, size * (allowed + 1), size):
            for at in _occurrences(name[offset : offset + size], text):
                regions.add(max(0, at - offset - allowed))
                if len(regions) * len(name) ** 2 > _WORK:
                    return None
        found = []
        for region in regions:
            for edits, start, end in _nearby(name, text[region : region + len(name) + 2 * allowed]):
                place = self._unfolded(region + start, region + end) if start < end and edits <= allowed else None
                if place is not None and self._is_like(name, place):
                    found.append((edits, *place))
        if not found:
            return None
        least, start, end = min(found)
        rival = any(edits == least and (first >= end or last <= start) for edits, first, last in found)
        return None if rival else (start, end)

    def _is_like(self, name: str, place: Place) -> bool:
        said = self.text[slice(*place)]
        exact, others = (_EXACT.findall(text) for text in (name, _folded(said)[0]))
        return said == said.strip() and exact == others and not _cuts(self.text, *place)


def _occurrences(part: str, text: str) -> Iterator[int]:
    at = text.find(part) if part else -1
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _nearby(name: str, text: str) -> Iterator[tuple[int, int, int]]:
    """Give for every end in a text the fewest edits that make a part of it the name, and where that part begins.

    Source: P. H. Sellers, The theory and computation of evolutionary distances, Journal of Algorithms 1(4), 1980.
    """
    row = [(0, at) for at in range(len(text) + 1)]
    for sign in name:
        above, row = row, [(row[0][0] + 1, 0)]
        for at, other in enumerate(text, start=1):
            edits, start = above[at - 1]
            best = (edits, start) if sign == other else (edits + 1, start)
            for edits, start in (above[at], row[-1]):  # a character of the name is missing, or one is too many
                best = (edits + 1, start) if edits + 1 < best[0] else best
            row.append(best)
    return ((edits, start, end) for end, (edits, start) in enumerate(row))


def _cuts(text: str, start: int, end: int) -> bool:
    """Tell whether a part of a text begins or ends within a word, or within a character."""
    return any(0 < at < len(text) and _joined(text[at - 1], text[at]) for at in (start, end))


def _joined(one: str, other: str) -> bool:
    """Tell whether two neighbours are of one word; in scripts without case, such as Korean, nothing tells."""
    if unicodedata.category(other).startswith("M"):
        return True
    return all(sign.isdigit() or sign.lower() != sign.upper() for sign in (one, other))


def _folded(text: str) -> tuple[str, list[Place]]:
    """Bring a text into the form in which names are compared, with the place in the text of each of its characters."""
    parts: list[str] = []
    places: list[Place] = []
    start = 0
    while start < len(text):
        end = start + 1
        while end < len(text) and unicodedata.combining(text[end]):
            end += 1
        form = _form(text[start:end])
        if form and not (form == " " and parts and parts[-1] == " "):
            parts.append(form)
            places += [(start, end)] * len(form)
        start = end
    return "".join(parts), places


@lru_cache(maxsize=4096)
def _form(character: str) -> str:
    """Fold one character with the marks on it; nothing is left of one that cannot be seen."""
    if character.isspace():
        return " "
    if unicodedata.category(character[0]) in ("Cc", "Cf") or "\ufe00" <= character <= "\ufe0f":
        return ""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    return decomposed.translate(_SAME)
