"""What was promised of a task's answers, and where the promise holds: for what it was fitted on, and nothing else."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fewshot.calibration.abstention import Threshold
from fewshot.calibration.calibration import Calibration
from fewshot.errors import ConfigError

__all__ = ["FIT_FILE", "OFF", "Promise", "script_of", "scripts_of", "text_of"]

FIT_FILE = "fit.json"
"""Where a fit stands beside `task.toml`."""
OFF = ("held back, since the promise is off: ", "the fit that was given is not used: ")
"""How a warning begins that tells why a fit does not hold for a question."""
_VERSION = 1
_LETTERS = 400
"""Letters of an input that are looked at for its script."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A fit with what it is for; with `threshold`, what was promised of the answers that are at least as sure."""

    keys: tuple[str, ...]
    """Hashes of prompt, shots, labels, settings, model and address, one for each kind of question among the rows."""
    asked: str
    """The settings beside the prompt that change answers: votes, temperature and the like."""
    scripts: tuple[str, ...]
    """The scripts that the rows are written in, such as `LATIN`."""
    calibration: Calibration | None = None
    threshold: Threshold | None = None
    about: str = ""
    """What it was fitted for, for a person to read, as JSON."""

    def missing(
        self,
        key: str,
        now: Mapping[str, Any],
        *,
        asked: str,
        text: str,
        calibration: Calibration | None,
        scored: bool,
        parts: int = 1,
        answered: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Tell in a sentence why this does not hold for a question; nothing when it does.

        Arguments:
            key: the question's own.
            now: `labels`, `model`, `place`, `head` and `prompt` of the question, to name the one that differs.
            asked: the settings in force.
            text: the inputs.
            calibration: the one that the answer went through.
            scored: whether the answer was read from probabilities of labels, if it is one.
            parts: in how many the text was read.
            answered: the models that the replies named.
        """
        what, script = "it was fitted for", script_of(text)
        known: list[str] = self.facts.get("answered") or []
        others = sorted({*answered} - {*known}) if known else []
        if key not in self.keys:
            reason = f"{what} {self._other(now)}: calibrate again"
        elif asked != self.asked:
            reason = f"{what} other settings ({self.asked}, not {asked}): calibrate again"
        elif self.calibration is not None and self.calibration.encoder and calibration is None:
            reason = self.calibration.other_encoder
        elif calibration != self.calibration:
            reason = "the calibration that it was fitted with is not in force: calibrate again"
        elif parts > 1:
            reason = f"{what} whole texts, and this one was read in {parts} parts: shorten it, or look at it yourself"
        elif script is not None and self.scripts and script not in self.scripts:
            reason = f"{what} inputs in {' or '.join(self.scripts)} and this one is in {script}: calibrate on such rows"
        elif others:
            reason = f"{what} answers of {', '.join(known)}, and {', '.join(others)} answered: calibrate again"
        elif calibration is not None and not scored:
            reason = f"{what} probabilities of the labels, and none could be read for this answer"
        else:
            return ()
        return (f"{OFF[0 if self.threshold else 1]}{reason}",)

    def _other(self, now: Mapping[str, Any]) -> str:
        """Name what differs from what it was fitted for."""
        known = self.facts
        names = {
            "labels": "other labels, or another order of them",
            "model": f"another model ({known.get('model')}, not {now['model']})",
            "place": "another address, other fields of the request, or another model file",
            "head": "another head of the examples: it has to do with NumPy, the sentence encoder and the version",
            "prompt": "another prompt (template, parameters, examples, k or the way of selecting)",
        }
        found = [told for name, told in names.items() if known.get(name, now[name]) != now[name]]
        return found[0] if found else "another kind of input, or another way of asking"

    @property
    def facts(self) -> dict[str, Any]:
        """What it was fitted for and on, as plain JSON values."""
        found: dict[str, Any] = json.loads(self.about or "{}")
        return found

    @property
    def told(self) -> str:
        """Say for a person on how many rows it was fitted, and where it is kept."""
        return str(self.facts.get("told") or f"{self.facts.get('rows', 'unknown')} rows, by calibrate, {FIT_FILE}")

    def to_json(self) -> str:
        """Write it so that a person can read it, and `from_json` gives the same to the last bit."""
        calibration = None if self.calibration is None else json.loads(self.calibration.to_json())
        threshold = None if self.threshold is None else self.threshold.to_dict()
        record = {
            "version": _VERSION, **self.facts, "asked": self.asked, "scripts": self.scripts,
            "keys": self.keys, "threshold": threshold, "calibration": calibration,
        }  # fmt: skip
        return json.dumps(record, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Promise:
        """Read what `to_json` wrote; anything else raises `ConfigError`."""
        try:
            record: dict[str, Any] = json.loads(text)
            if record.pop("version") != _VERSION:
                raise ValueError("it is of another version")
            calibration, threshold = record.pop("calibration"), record.pop("threshold")
            if threshold is not None:
                least = threshold["threshold"]
                threshold = Threshold(**{**threshold, "threshold": float("inf") if least is None else float(least)})
            return cls(
                keys=tuple(map(str, record.pop("keys"))),
                asked=str(record.pop("asked")),
                scripts=tuple(map(str, record.pop("scripts"))),
                calibration=None if calibration is None else Calibration.from_json(json.dumps(calibration)),
                threshold=threshold,
                about=json.dumps(record, ensure_ascii=False),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ConfigError) as error:
            raise ConfigError(f"this is not a fit ({error}): calibrate again, or delete it") from error


def script_of(text: str) -> str | None:
    """Name the script that most letters of a text are in; None where it has none."""
    letters = [character for character in text[: 4 * _LETTERS] if character.isalpha()][:_LETTERS]
    counts = Counter(unicodedata.name(letter, "?").split(" ", 1)[0] for letter in letters)
    return counts.most_common(1)[0][0] if counts else None


def scripts_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Name the scripts of texts, sorted."""
    return tuple(sorted({script for text in texts if (script := script_of(text)) is not None}))


def text_of(inputs: Mapping[str, Any]) -> str:
    """Join the inputs of a question to one text."""
    return " ".join(str(value) for value in inputs.values() if value is not None)
