"""What a search for a better prompt found: every prompt that was tried, and how the chosen one does on other rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fewshot.evaluation.intervals import Comparison
from fewshot.evaluation.predictions import CURVE
from fewshot.evaluation.report import Report, comparison_table
from fewshot.folders.writer import Rewritten, chosen_settings, rewrite
from fewshot.inference.predictor import Predictor
from fewshot.models.pricing import spending
from fewshot.tuning.successive_halving import Rung
from fewshot.types import Usage

__all__ = ["Trial", "Tuned"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One prompt that was tried, and how it stood after each rung of the search."""

    name: str
    rungs: tuple[Rung, ...]
    chosen: bool

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {"name": self.name, "chosen": self.chosen, "rungs": [rung.to_dict() for rung in self.rungs]}


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The outcome of `Task.tune`.

    Attributes:
        task: the task with the chosen prompt, calibrated where that could be done; ready to be called.
        start: the task that the search began with.
        chosen: what is different in the chosen prompt; `"start"` when none was better.
        trials: all prompts that were tried, the start first.
        before: the start as it was, on rows that the search never saw.
        after: `task` on the same rows.
        rows: how many rows were there for shots, were asked in the search, and were held out.
        requests: how many requests were sent.
        cost: US dollars; None when the price is not known.
    """

    task: Predictor[Any]
    start: Predictor[Any]
    chosen: str
    trials: tuple[Trial, ...]
    before: Report
    after: Report
    rows: Mapping[str, int]
    requests: int
    budget: int
    usage: Usage
    cost: float | None
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether another prompt than the start's was chosen."""
        return self.chosen != "start"

    @property
    def score(self) -> str:
        """The name of the score by which prompts were compared."""
        return CURVE[self.after.kind]

    @property
    def difference(self) -> Comparison:
        """By how much `task` is above the start on the rows held out, paired row by row."""
        return self.after.compare(self.before)[self.score]

    def write(self) -> Rewritten:
        """Write the chosen prompt into the task's folder; the files that change are kept beside it as `.bak`.

        Raises:
            InputError: there is nothing to write, or the folder is not what the search began with.
        """
        return rewrite(self.start, self.task)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain JSON values, the held-out rows themselves left out."""
        return {
            "task": self.after.task,
            "model": self.after.model,
            "chosen": self.chosen,
            "changed": self.changed,
            "calibration": None if self.task.fitted is None else self.task.fitted.to_dict(),
            "settings": chosen_settings(self.start, self.task),
            "score": self.score,
            "held_out": {
                "start": self.before.metrics[self.score].to_dict(),
                "chosen": self.after.metrics[self.score].to_dict(),
                "difference": self.difference.to_dict(),
            },
            "metrics": {
                "start": {name: figure.to_dict() for name, figure in self.before.metrics.items()},
                "chosen": {name: figure.to_dict() for name, figure in self.after.metrics.items()},
            },
            "trials": [trial.to_dict() for trial in self.trials],
            "rows": dict(self.rows),
            "requests": self.requests,
            "budget": self.budget,
            "usage": self.usage.to_dict(),
            "cost": self.cost,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        head = f"{self.start.name}  {self.after.model}  {len(self.trials)} prompts, {self.requests} requests"
        how = ", after calibration by cross-validation" if self.task.fitted else ""
        lines = [f"{head} of {self.budget}", f"  {self.score} on {self.rows['search']} rows of the search{how}"]
        lines += [f"  {line}" for line in _table(self.trials)]
        lines += [
            f"  {self.score} on {self.rows['held_out']} rows that the search never saw",
            f"    start       {self.before.metrics[self.score]}",
            f"    chosen      {self.after.metrics[self.score]}",
            f"    {comparison_table({'difference': self.difference}).strip()}",
        ]
        if not self.changed:
            lines.append("  no prompt was clearly better on the rows of the search, so that of the start is kept")
        if self.difference.difference < 0:
            lines.append("  on these rows the start did better: keep it")
        elif self.changed and self.difference.low <= 0:
            lines.append("  on these rows the two cannot be told apart for certain: more rows would tell")
        if self.task.fitted is not None and self.task.fitted.calibration is not None:
            lines.append(f"  calibrated on {self.task.fitted.rows} rows: {self.task.fitted.calibration.name}")
        lines += [f"  {name} = {value!r}" for name, value in chosen_settings(self.start, self.task).items()]
        lines.append(f"  {self.spending}")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    @property
    def spending(self) -> str:
        """Tokens, money and time of the whole search in one line."""
        return spending(self.usage, self.cost, self.seconds)


def _table(trials: tuple[Trial, ...]) -> list[str]:
    """Write a line for each prompt and a column for each rung: the score, and whether it was kept."""
    width = max(len(trial.name) for trial in trials)
    columns = [f"{rung.rows} rows" for rung in max((trial.rungs for trial in trials), key=len)]
    lines = [f"  {'':<{width}}  {'  '.join(f'{column:<13}' for column in columns)}".rstrip()]
    for trial in trials:
        cells = [f"{rung.score:.3f} {'kept' if rung.kept else 'dropped':<7}" for rung in trial.rungs]
        lines.append(f"{'*' if trial.chosen else ' '} {trial.name:<{width}}  {'  '.join(cells)}".rstrip())
    return lines
