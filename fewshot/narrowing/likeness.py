"""How alike a text is to each example: by n-grams, and by the vectors of a sentence encoder where one is installed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fewshot.calibration.ridge import can_fit
from fewshot.models.local.encoder import encode, encoder
from fewshot.narrowing.ngrams import Ngrams
from fewshot.prompts.similarity import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Likeness", "kind_of_head", "plain", "raised"]

_VERSION = 2
_WIDTH = 2.0
"""How fast likeness falls with the angle between two vectors (a Gaussian kernel on the sphere)."""


def kind_of_head() -> str:
    """Name the kind of head that is fitted here: another one has other probabilities for the same examples."""
    return f"{_VERSION} {'ridge' if can_fit() else 'likeness'} {encoder() or 'n-grams'}"


class Likeness:
    """Compares a text with some texts: by n-grams, to the power of 1.5, or of 2 without NumPy, and `share * vectors`.

    Arguments:
        texts: what is compared with.
        vectors: whether an encoder's vectors count, where there is one.
    """

    def __init__(self, texts: Sequence[str], *, vectors: bool = True) -> None:
        self.ngrams = Ngrams(texts)
        self._vectors: Any = None
        same = defaultdict[str, list[int]](list)
        for place, text in enumerate(texts):
            same[plain(text)].append(place)
        self._same = dict(same)
        if vectors and can_fit() and encoder():
            read = encode(texts, keep=True).astype(float)
            self._centre = read.mean(axis=0)
            self._vectors = self._unit(read)

    def same(self, text: str) -> Sequence[int]:
        """Give the places of the texts that differ from one by case, blanks and punctuation alone."""
        return self._same.get(plain(text), ())

    def groups(self, most: int) -> list[list[int]]:
        """Give the places before one that say the same, of those that others do."""
        found = ([place for place in places if place < most] for places in self._same.values())
        return [places for places in found if len(places) > 1]

    def row(self, text: str, share: float) -> Sequence[float]:
        """Give how alike a text is to each."""
        alike = self.ngrams.alike(text)
        row = [raised(value) for value in alike] if can_fit() else [value * value for value in alike]
        if not share:
            return row
        import numpy as np

        vector = self._unit(encode([text]).astype(float))[0]
        near: list[float] = np.exp(_WIDTH * (np.einsum("ij,j->i", self._vectors, vector) - 1)).tolist()
        return [value + share * other for value, other in zip(row, near, strict=True)]

    def matrices(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Give how alike each two texts are by n-grams, before they are raised, and by vectors."""
        import numpy as np

        near = None if self._vectors is None else np.exp(_WIDTH * (self._vectors @ self._vectors.T - 1))
        return self.ngrams.matrix(), near

    def _unit(self, vectors: Any) -> Any:
        import numpy as np

        centred = vectors - self._centre
        return centred / np.linalg.norm(centred, axis=1, keepdims=True).clip(1e-12)


def raised(alike: Any) -> Any:
    """Raise to 1.5, to the same bits on every processor."""
    return alike * alike**0.5


def plain(text: str) -> str:
    """Give the words of a text, by which two that say the same are equal; of one without any the text itself."""
    return " ".join(words(text)) or text
