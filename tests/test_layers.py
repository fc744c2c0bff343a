"""Imports go down only, and importing the package does no work."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import fewshot

PACKAGE = Path(fewshot.__file__).parent


def own_imports(module: Path) -> set[str]:
    """Modules of the package that a module imports when it is imported itself, type checking aside."""
    found = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fewshot"):
            inner = (node.module or "").removeprefix("fewshot").lstrip(".")
            found |= {inner} if inner else {alias.name for alias in node.names}
    return found


def test_there_is_no_import_cycle() -> None:
    names = {str(p.relative_to(PACKAGE).with_suffix("")).replace("/", "."): p for p in PACKAGE.rglob("*.py")}
    graph = {name: own_imports(path) for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a cycle: {' -> '.join((*trail, name))}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
    assert {"types", "task", "cli.main"} <= done


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, fewshot; print([m for m in ('openai', 'jinja2', 'xllamacpp', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_facade_offers_just_what_it_names() -> None:
    assert sorted(fewshot.__all__) == fewshot.__all__
    for name in fewshot.__all__:
        assert getattr(fewshot, name).__name__ == name
