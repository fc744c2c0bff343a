"""The README does what it says: every Python block runs, every command names something real."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fewshot import cli

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.local
@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("block", BLOCKS, ids=[block.strip().splitlines()[0][:40] for block in BLOCKS])
def test_every_python_block_runs(block: str) -> None:
    exec(compile(block, "README.md", "exec", dont_inherit=True), {})


def test_every_command_that_is_named_exists() -> None:
    named = set(re.findall(r"`?fewshot (?!\[)([a-z]+)", README)) & {*cli.COMMANDS, "run", "show", "doctor", "tasks"}
    assert named <= set(cli.COMMANDS)
    assert {"run", "show", "doctor"} <= named


def test_the_test_command_is_what_ci_runs() -> None:
    ci = (Path(__file__).parent.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert "python -m pytest" in README
    assert "python -m pytest" in ci
