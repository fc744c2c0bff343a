"""What is wrong in one place of a task folder: where, what, and how to put it right.

Loading raises the first error of them; `fewshot check` shows all, warnings included.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewshot.errors import TaskError
from fewshot.types import Plain

__all__ = ["Finding", "Severity", "error", "of_error", "raise_first", "warning"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding(Plain):
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
        return f"{place}: {self.severity}: {self.said} [{self.code}]"

    @property
    def said(self) -> str:
        """What is wrong, then what to do."""
        return f"{self.message}; {self.fix}" if self.fix else self.message


def error(code: str, path: Path | str, line: int | None, message: str, fix: str = "") -> Finding:
    """Make a finding that keeps the task from working as meant."""
    return Finding("error", code, str(path), line, message, fix)


def warning(code: str, path: Path | str, line: int | None, message: str, fix: str = "") -> Finding:
    """Make a finding that an author should look at."""
    return Finding("warning", code, str(path), line, message, fix)


def of_error(code: str, path: Path | str, problem: TaskError) -> Finding:
    """Make a finding of an error that reading a file raised, without the place that its text begins with."""
    place = f"{problem.path}:{problem.line}: " if problem.line else f"{problem.path}: "
    return error(code, problem.path or path, problem.line, str(problem).removeprefix(place))


def raise_first(findings: Iterable[Finding]) -> None:
    """Raise TaskError for the first error among findings."""
    for finding in findings:
        if finding.severity == "error":
            raise TaskError(finding.said, path=finding.path, line=finding.line)
