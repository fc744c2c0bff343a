"""How a bulk run is done: its options, each with its meaning and limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fewshot._options import check_all, setting
from fewshot.bulk.progress import Tally
from fewshot.errors import ConfigError

__all__ = ["Plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a run is done; see `fewshot.bulk.map.map`."""

    concurrency: int | None = setting(
        "whole", None, "most rows in flight; by default it finds its level by how the service behaves", least=1,
        near=("workers", "n_jobs", "num_workers", "max_workers", "threads", "parallel", "max_concurrency"),
    )  # fmt: skip
    ordered: bool = setting("flag", True, "give results in the order of the rows, or as they come", near=("in_order",))
    rpm: float | None = setting(
        "number", None, "requests a minute, at most; what the service announces is kept anyway", least=1,
        near=("rate_limit", "requests_per_minute", "rate"),
    )  # fmt: skip
    tpm: float | None = setting("number", None, "tokens a minute, at most", least=1, near=("tokens_per_minute",))
    max_errors: int | None = setting("whole", None, "stop when more rows than this failed", least=0, near=("errors",))
    max_cost: float | None = setting(
        "number", None, "US dollars for the whole run, earlier parts included; set aside before a request is sent",
        least=0, near=("budget", "cost", "max_price", "max_usd"),
    )  # fmt: skip
    out: Path | None = setting(
        "path", None, "where results are kept, as JSON lines, or as a table at the end (`.csv`, `.parquet`)",
        near=("output", "output_file", "file", "path", "save", "save_to", "checkpoint"),
    )  # fmt: skip
    resume: bool = setting("flag", True, "go on with what `out` holds; False forgets it and starts over")
    retry_failed: bool = setting("flag", False, "with `out`: ask the rows again that have failed", near=("retry",))
    facts: Mapping[str, str] = field(default_factory=dict)
    total: int | None = setting("whole", None, "how many rows there are, for the progress", least=0)
    watch: Callable[[Tally], None] | None = None

    def __post_init__(self) -> None:
        check_all(self)
        if self.retry_failed and not self.resume:
            raise ConfigError("retry_failed goes on with a run, and resume=False forgets it: choose one")
