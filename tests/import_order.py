"""The order of imports as data, and what finds an import that goes up.

Layers from top to bottom: a module may import from its own layer's package, and from anything below. Imports of every
kind count: at the top, inside functions, and under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ORDER: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("authoring", "integrations"),
    ("functions", "testing"),
    ("task",),
    ("tuning",),
    ("estimation",),
    ("evaluation",),
    ("bulk",),
    ("folders",),
    ("inference",),
    ("narrowing",),
    ("models", "data", "prompts"),
    ("outputs", "calibration", "settings"),
    ("_options",),
    ("_moved", "_environment", "_checks", "_task_files", "_progress", "_storage", "_wording", "_background_loop"),
    ("result",),
    ("errors",),
    ("types",),
)
"""Packages and modules of `fewshot`, top first. Those of one layer do not import each other, packages apart."""
FACADE = "__init__"
LARGEST_FOLDER = 18


def place_of(module: str) -> int | None:
    """Which layer a module such as `bulk.engine` is in; None for one that has no place."""
    top = module.split(".")[0]
    return next((place for place, names in enumerate(ORDER) if top in names), None)


def modules(package: Path) -> dict[str, Path]:
    """Every module of a package by its dotted name below it; `bulk` for the package's own `__init__`."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(path: Path, names: set[str]) -> Iterator[tuple[str, int]]:
    """Every import of the package's own modules in a file, with its line, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fewshot":
            inner = (node.module or "").removeprefix("fewshot").lstrip(".")
            for alias in node.names:
                deeper = f"{inner}.{alias.name}".lstrip(".")
                yield (deeper if deeper in names else inner or FACADE), node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "fewshot":
                    yield alias.name.removeprefix("fewshot").lstrip(".") or FACADE, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f"a relative import ({'.' * node.level}{node.module or ''})", node.lineno


def faults(package: Path) -> list[str]:
    """Everything that breaks the order, with file and line."""
    known = modules(package)
    names = set(known)
    found = []
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        if name == FACADE:
            continue
        place = place_of(name)
        if place is None:
            found.append(f"{name} has no place in the order")
            continue
        for other, line in imports(path, names):
            where = f"{path.relative_to(package)}:{line}"
            if other == FACADE:
                continue  # `from fewshot import __version__`: the facade loads a name when it is used
            there = place_of(other)
            if there is None:
                found.append(f"{where} imports {other}, which has no place in the order")
            elif there < place or (there == place and other.split(".")[0] != name.split(".")[0]):
                found.append(f"{where} imports {other}, which lies above {name}")
            else:
                graph.setdefault(name, set()).add(other)
    found += circles(graph)
    for folder in {path.parent for path in known.values()}:
        count = len(list(folder.glob("*.py")))
        if count > LARGEST_FOLDER:
            found.append(f"{folder.relative_to(package.parent)} holds {count} files, more than {LARGEST_FOLDER}")
    return found


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The circles among modules, one line each."""
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            found.append(f"a circle: {' -> '.join((*trail[trail.index(name) :], name))}")
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
    return found
