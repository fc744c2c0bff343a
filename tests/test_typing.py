"""What type checkers infer: `typing/usage.py` is only read by them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USAGE = ROOT / "tests" / "typing" / "usage.py"

pytestmark = pytest.mark.slow


def checked(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_infers_the_types() -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    checked("mypy", "--strict", str(USAGE))


@pytest.mark.parametrize("checker", ["pyright", "basedpyright"])
def test_pyright_infers_the_types(checker: str) -> None:
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    checked(checker, "-p", str(USAGE.parent), "--pythonpath", sys.executable, "--level", "error")
