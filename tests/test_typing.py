"""What type checkers infer: `typing/usage.py` is only read by them, and so are the Python blocks of README and docs."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USAGE = ROOT / "tests" / "typing" / "usage.py"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
CHECKERS = {
    "mypy": ("--disable-error-code", "import-untyped"),  # pandas has its stubs in a package of their own
    "pyright": ("--pythonpath", sys.executable, "--level", "error"),
    "basedpyright": ("--pythonpath", sys.executable, "--level", "error"),
    "ty": ("check", "--python", sys.executable, "--output-format", "concise"),
}

pytestmark = pytest.mark.slow
each_checker = pytest.mark.parametrize("checker", CHECKERS)


def checked(checker: str, *words: str) -> None:
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    command = [sys.executable, "-m", checker, *CHECKERS[checker], *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@each_checker
def test_the_types_are_inferred(checker: str) -> None:
    words = {"mypy": ["--strict", str(USAGE)], "ty": [str(USAGE)]}.get(checker, ["-p", str(USAGE.parent)])
    checked(checker, *words)


@each_checker
def test_what_the_pages_show_is_well_typed(checker: str, tmp_path: Path) -> None:
    files = []
    for place, page in enumerate(PAGES):
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        files.append(tmp_path / f"page_{place}_{page.stem.replace('-', '_')}.py")
        files[-1].write_text("\n\n".join(blocks), encoding="utf-8")
    checked(checker, *map(str, files))
