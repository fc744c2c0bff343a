"""What the page for labels does, without HTTP: the text to label now, what is said of it, and what that has bought."""

from __future__ import annotations

import json
from typing import Any

from fewshot.authoring.lab.workbench import model_of
from fewshot.authoring.labelling.labelling import Labelling

__all__ = ["Desk"]


class Desk:
    """One person's labelling, as plain values."""

    def __init__(self, labelling: Labelling) -> None:
        self._labelling = labelling
        self._model = model_of(labelling.task)

    def state(self) -> dict[str, Any]:
        """Give the text to label now, and where one stands."""
        work = self._labelling
        output, now = work.task.output, work.next()
        return {
            "task": work.task.name,
            "model": self._model,
            "annotator": work.annotator,
            "labels": list(output.labels) if output.labels else None,
            "several": output.several,
            "wants": output.gives_what,
            "text": now and {"key": now.key, "inputs": {name: _shown(value) for name, value in now.inputs.items()}},
            "said": len(work.labels),
            "total": len({text.key for text in work.texts} | work.labels.keys()),
            "problem": work.problem,
        }

    def say(self, key: str, **said: Any) -> dict[str, Any]:
        """Keep what is said of the text with this key, and give the next; see `Labelling.label`."""
        if not isinstance(key, str):
            raise TypeError("the key must be a text")
        self._labelling.label(key=key, **said)
        return self.state()

    def undo(self, said: int) -> dict[str, Any]:
        """Take the last label back, if so many are all that there are: another window may have given one since."""
        self._labelling.undo(said)
        return self.state()

    def guess(self) -> dict[str, Any]:
        """Ask the model about the text to label now."""
        guess = self._labelling.guess()
        shown = None if guess is None else {**guess, "value": _shown(guess["value"])}
        return {"guess": shown, "problem": self._labelling.problem}

    def figures(self) -> dict[str, Any]:
        """Tell what the labels have bought."""
        return self._labelling.figures()


def _shown(value: Any) -> str | None:
    """Write a value as it is shown: JavaScript would round a large number."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
