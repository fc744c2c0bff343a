"""Imports go down only, of every kind; folders stay small; importing the package does no work."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from import_order import faults, modules, place_of

import fewshot
from fewshot._moved import MOVED

PACKAGE = Path(fewshot.__file__).parent


def test_imports_go_down_only_and_every_module_has_a_place() -> None:
    assert faults(PACKAGE) == []
    assert len(modules(PACKAGE)) > 100


@pytest.mark.parametrize(
    ("module", "planted", "told"),
    [
        (
            "outputs/labels.py",
            "def late() -> None:\n    from fewshot.cli.main import main\n",
            "lies above outputs.labels",
        ),
        ("evaluation/svg.py", "from fewshot.tuning.tune import tune\n", "lies above evaluation.svg"),
        ("types.py", "if TYPE_CHECKING:\n    from fewshot.errors import FewshotError\n", "lies above types"),
        ("models/cache.py", "import fewshot.bulk.engine\n", "lies above models.cache"),
        ("models/budget.py", "from fewshot.data.tables import write_table\n", "lies above models.budget"),
        ("outputs/text.py", "from . import labels\n", "a relative import"),
        ("calibration/logistic.py", "from fewshot.calibration.fitting import fit\n", "a circle"),
        ("novel.py", "", "has no place"),
    ],
)
def test_an_import_upward_is_found_wherever_it_stands(tmp_path: Path, module: str, planted: str, told: str) -> None:
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "fewshot", ignore=shutil.ignore_patterns("*.pyc", "templates")))
    path = copy / module
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + "\n" + planted, encoding="utf-8")
    found = faults(copy)
    assert found, f"{planted!r} in {module} was not found"
    assert any(told in fault for fault in found), found


def test_a_full_folder_is_found(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(PACKAGE, tmp_path / "fewshot", ignore=shutil.ignore_patterns("*.pyc", "templates")))
    for number in range(18):
        (copy / "prompts" / f"more{number}.py").touch()
    assert any("more than 18" in fault for fault in faults(copy))


def test_places_are_those_of_the_order() -> None:
    assert place_of("cli.run") is not None
    assert place_of("elsewhere") is None


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, fewshot; print([m for m in ('openai', 'jinja2', 'xllamacpp', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_facade_reads_the_same_to_a_type_checker_as_at_run_time() -> None:
    tree = ast.parse(Path(fewshot.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    static = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert static == {name: f"fewshot.{module}" for name, module in fewshot._MODULE_OF.items()}


def test_the_facade_offers_just_what_it_names() -> None:
    assert sorted(fewshot.__all__) == fewshot.__all__
    for name in fewshot.__all__:
        assert getattr(fewshot, name).__name__ == name


@pytest.mark.parametrize("old", sorted(MOVED))
def test_a_path_that_earlier_documents_named_gives_the_module_at_its_new_place(old: str) -> None:
    code = f"import importlib, {old}; assert {old} is importlib.import_module({MOVED[old]!r})"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_reading_path_of_contributing_exists_and_is_short() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    path = re.findall(r"^\d+\. `([\w/]+\.py)`:", text, re.MULTILINE)
    assert len(path) == 9
    assert sum(len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) for name in path) < 2_500


WORST = re.compile(
    r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer\b|more\b|use\b|need\b)\w|\bgone on with\b|\btwo sights\b"
    r"|\bwas got by\b|\bleave (?:it|--?\w+) away\b|\ba truth\b|\bor there twice\b"
)


def test_nothing_is_said_in_the_worst_words() -> None:
    said = [
        f"{path.relative_to(PACKAGE)}:{number}: {found[0]}"
        for path in PACKAGE.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (found := WORST.search(line))
    ]
    assert said == []
    assert WORST.search("this is no task name")
    assert not WORST.search("there is no task of that name")
