"""What a linter says about one place: where, what is wrong, and how to put it right."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fewshot.errors import TaskError

__all__ = ["Finding", "Severity", "error", "of_error", "warning"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault; as text it is `path:line: severity: message; fix [code]`."""

    severity: Severity
    code: str
    """Short name of the kind of fault, such as `"unknown-key"`."""
    path: str
    line: int | None
    message: str
    fix: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        told = f"{self.message}; {self.fix}" if self.fix else self.message
        return f"{place}: {self.severity}: {told} [{self.code}]"

    def to_dict(self) -> dict[str, Any]:
        """Give the finding as plain JSON values."""
        return asdict(self)


def error(code: str, path: Path | str, line: int | None, message: str, fix: str = "") -> Finding:
    """Make a finding that keeps the task from working as meant."""
    return Finding("error", code, str(path), line, message, fix)


def warning(code: str, path: Path | str, line: int | None, message: str, fix: str = "") -> Finding:
    """Make a finding that an author should look at."""
    return Finding("warning", code, str(path), line, message, fix)


def of_error(code: str, path: Path | str, problem: TaskError) -> Finding:
    """Make a finding of an error that reading a folder would raise, without the place that its text begins with."""
    place = f"{problem.path}:{problem.line}: " if problem.line else f"{problem.path}: "
    return error(code, path, problem.line, str(problem).removeprefix(place))
