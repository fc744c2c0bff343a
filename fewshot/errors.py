"""Everything that can go wrong, sorted by who can put it right.

    FewshotError
    ├── InputError     the caller: a value, a row or an argument is not what the task takes
    ├── TaskError      the author: a task folder is broken (with file and line)
    ├── ConfigError    the installer: a key, an extra or a model is missing
    ├── ServiceError   the service: what it did instead of answering (with the request)
    └── OutputError    the model: an answer that never became valid (with the completions)

Every message ends with what to do next. All of them pickle, and none holds a key.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fewshot.types import Completion, Request

__all__ = ["ConfigError", "FewshotError", "InputError", "OutputError", "ServiceError", "TaskError"]


class FewshotError(Exception):
    """Any error that this package raises on purpose."""

    # Exception.__reduce__ rebuilds from `args` and then restores `__dict__`: a positional message and
    # keyword-only evidence is all that an error needs to survive pickling, so subclasses keep to that.


class InputError(FewshotError, ValueError):
    """What the caller passed is not what the task takes; `field` and `row` say where, when known."""

    def __init__(self, message: str, *, field: str | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.row = row


class TaskError(FewshotError):
    """A task folder, template or example file is broken; `path` and `line` say where."""

    def __init__(self, message: str, *, path: str | Path | None = None, line: int | None = None) -> None:
        where = f"{path}:{line}: " if path and line else f"{path}: " if path else ""
        super().__init__(where + message)
        self.path = str(path) if path else None
        self.line = line

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class ConfigError(FewshotError):
    """A key, a model, an extra or a setting is missing or contradictory."""


class ServiceError(FewshotError):
    """The service failed, after every retry that made sense.

    Attributes:
        status: HTTP status, or None when no reply came (connection, time-out, rubbish).
        code: the provider's error code, such as `"insufficient_quota"`, when it gave one.
        param: the request parameter that the provider complains of, when it named one.
        transient: another try later may succeed (rate limit, overload, connection, time-out).
        account: the whole account is refused (key, quota, permission): other rows would fail too.
        retry_after: seconds the service asked to wait, when it did.
        request: what was asked.
        attempts: how many HTTP requests were sent.
        beside: what came of the requests that were sent side by side with it, since these are paid for.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        transient: bool = False,
        account: bool = False,
        retry_after: float | None = None,
        request: Request | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.transient = transient
        self.account = account
        self.retry_after = retry_after
        self.request = request
        self.attempts = attempts
        self.beside: tuple[Completion, ...] = ()

    @property
    def for_what_it_holds(self) -> bool:
        """Whether this request was refused for what it holds, such as too long a text: others may well pass."""
        return self.status in (400, 413, 422) and not self.transient and not self.account


OutputReason = Literal["invalid", "ambiguous", "length", "content_filter", "refusal", "empty", "loop"]


class OutputError(FewshotError):
    """The model answered, but no answer became a valid value.

    Attributes:
        reason: why the last answer was refused.
        raw: the last answer, as the model gave it.
        completions: every completion of the conversation, oldest first.
    """

    def __init__(
        self, message: str, *, reason: OutputReason = "invalid", raw: str = "", completions: tuple[Completion, ...] = ()
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.raw = raw
        self.completions = completions


def _rebuild(kind: type[FewshotError], args: tuple[object, ...], state: dict[str, object]) -> FewshotError:
    """Make an error again from a pickle, without running its constructor's formatting twice."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
