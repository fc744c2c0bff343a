"""How alike texts are by the words, pairs of words and pieces of words that they share (TF-IDF, cosine)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from fewshot.prompts.similarity import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Ngrams"]

_PIECES = range(2, 6)
"""Characters of the pieces of a word, its ends marked by blanks."""
_COLUMNS = 2_000
"""Features that are multiplied at a time, which bounds the memory."""


class Ngrams:
    """An index of texts; how alike two are is the mean of two cosines, by words and by pieces, from 0 to 1."""

    def __init__(self, texts: Sequence[str]) -> None:
        counted = [_counted(text) for text in texts]
        self._size = len(texts)
        self._found = Counter(chain.from_iterable(chain.from_iterable(counted)))
        self.rows = [self._weighted(counts) for counts in counted]
        self._places: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for place, row in enumerate(self.rows):
            for feature, weight in row.items():
                self._places[feature].append((place, weight))

    def alike(self, text: str) -> list[float]:
        """Give how alike a text is to each text of the index."""
        return self.alike_to(self._weighted(_counted(text)))

    def alike_to(self, row: dict[str, float]) -> list[float]:
        """Give how alike a row of weights is to each text of the index."""
        found = [0.0] * self._size
        for feature, weight in row.items():
            for place, other in self._places.get(feature, ()):
                found[place] += weight * other
        return found

    def matrix(self) -> NDArray[np.float64]:
        """Give how alike each two texts of the index are."""
        import numpy as np

        found = np.zeros((self._size, self._size))
        shared = [places for places in self._places.values() if len(places) > 1]
        for start in range(0, len(shared), _COLUMNS):
            part = shared[start : start + _COLUMNS]
            table = np.zeros((self._size, len(part)))
            for column, places in enumerate(part):
                for place, weight in places:
                    table[place, column] = weight
            found += table @ table.T
        np.fill_diagonal(found, [math.fsum(w * w for w in row.values()) for row in self.rows])
        return found

    def _weighted(self, blocks: Sequence[Counter[str]]) -> dict[str, float]:
        """Weigh counts, each block to a length of one half squared: 1 + log count, times how rare a feature is."""
        row: dict[str, float] = {}
        for counts in blocks:
            weights = {
                feature: (1 + math.log(count)) * (1 + math.log((1 + self._size) / (1 + self._found[feature])))
                for feature, count in counts.items()
            }
            length = math.sqrt(2 * math.fsum(weight * weight for weight in weights.values())) or 1.0
            row |= {feature: weight / length for feature, weight in weights.items()}
        return row


def _counted(text: str) -> tuple[Counter[str], Counter[str]]:
    """Count words and pairs of neighbours, each with a tab before it, and the pieces of words."""
    found = words(text)
    pairs = (f"\t{one} {other}" for one, other in pairwise(found))
    marked = [f" {word} " for word in found]
    pieces = (word[at : at + size] for word in marked for size in _PIECES for at in range(len(word) - size + 1))
    return Counter(chain((f"\t{word}" for word in found), pairs)), Counter(pieces)
