"""What a calibration came to: what was fitted, on what, and what it took."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fewshot.calibration.abstention import Threshold
from fewshot.calibration.calibration import Calibration
from fewshot.calibration.drift import Figures
from fewshot.calibration.fitting import Fitted
from fewshot.types import Usage

__all__ = ["Calibrated"]


@dataclass(frozen=True)
class Calibrated:
    """What was fitted, on what, and what it took."""

    keys: tuple[str, ...]
    """What the calibration is for: hashes of prompt, shots, labels, settings and model, one for each kind of question
    among the rows (other parameters, or other optional inputs given)."""
    calibration: Calibration | None
    """None for open answers, whose confidence stays as it is."""
    fit: Fitted | None
    threshold: Threshold | None
    rows: int
    shots_left_out: int
    """Rows that are shots of the prompt, and so say nothing about it."""
    repeats_left_out: int
    """Rows that ask the same as one before, and so are not evidence of their own."""
    usage: Usage
    cost: float | None
    seconds: float
    model: str = ""
    scripts: tuple[str, ...] = ()
    """The scripts that the rows are written in."""
    data: str = ""
    """A hash of the rows."""
    figures: Figures | None = None
    """How right and how sure it was on rows left out of the fit; None where it was fitted on shots, or for
    another prior."""

    @property
    def key(self) -> str:
        """The first of the keys: mostly there is one."""
        return self.keys[0]

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values, the calibration itself aside."""
        return {
            **({} if self.fit is None else self.fit.to_dict()),
            "name": "none" if self.calibration is None else self.calibration.name,
            "key": self.key,
            "model": self.model,
            "figures": None if self.figures is None else asdict(self.figures),
            "rows": self.rows,
            "shots_left_out": self.shots_left_out,
            "repeats_left_out": self.repeats_left_out,
            "threshold": None if self.threshold is None else self.threshold.to_dict(),
            "usage": self.usage.to_dict(),
            "cost": self.cost,
            "seconds": self.seconds,
        }
