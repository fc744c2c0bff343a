"""Odd arguments, variables and words end in a value or an error of ours; 100,000 of them by benchmarks/boundary.py."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "benchmarks"))
from boundary import TARGETS, USUAL, calls


@pytest.mark.parametrize("target", [*TARGETS, "env", "cli"])
def test_odd_calls_end_in_a_value_or_an_error_of_ours(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    monkeypatch.chdir(tmp_path)
    for name, value in USUAL.items():
        monkeypatch.setenv(name, value)
    came = list(calls(12, 5, [target], tmp_path))
    assert len(came) == 12
    assert [(how, call) for _, how, call in came if how.startswith("RAW")] == []
