"""The one Jinja environment: what a template may do, so that a folder from elsewhere is as safe as its text.

A template may print its variables, choose and loop. Jinja's own sandbox keeps it from Python's insides; on top of that
only the constructs listed here are let through, checked before anything is rendered, since the sandbox sets no limit to
time or memory (https://jinja.palletsprojects.com/en/stable/sandbox/#operators). What is left cannot read or write a
file, cannot grow a text faster than its own source grows, and stops at a number of loop turns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fewshot._checks import did_you_mean
from fewshot.errors import TaskError

if TYPE_CHECKING:
    import jinja2
    from jinja2 import nodes

__all__ = ["FILTERS", "environment", "problems", "rendered", "vet"]

FILTERS = frozenset(
    "abs capitalize count d default dictsort first float int items join last length list lower max min reverse round "  # noqa: SIM905
    "sort string sum title tojson trim truncate unique upper wordcount".split()
)
"""Filters that a template may use: each gives about as much as it takes."""
_TURNS = 100_000
_LONGEST = 20_000_000
_LONGEST_CONSTANT = 20_000

_turns_left: ContextVar[int] = ContextVar("turns_left")


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """Make the environment: sandboxed, immutable, strict about undefined names, without globals."""
    from jinja2 import StrictUndefined, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
            for loop in source.find_all(nodes.For):
                loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None)
            return super()._generate(source, *args, **kwargs)

    made = Environment(
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in FILTERS if name in made.filters}
    made.filters |= {"_counted": _counted, "tojson": _json}
    return made


def vet(tree: nodes.Template, path: str) -> None:
    """Refuse a template that uses more than it may.

    Raises:
        TaskError: with the line and what to use instead.
    """
    for line, problem in problems(tree):
        raise TaskError(problem, path=path, line=line)


def problems(tree: nodes.Template) -> Iterator[tuple[int | None, str]]:
    """Give all that a template may not do, each with its line."""
    from jinja2 import nodes

    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    for node in _walk(tree):
        problem = _problem(node, macros)
        if problem:
            yield getattr(node, "lineno", None), problem


def rendered(chunks: Iterable[str]) -> str:
    """Join what a block yields, counting its loop turns and its length; raises ValueError past a limit."""
    token = _turns_left.set(_TURNS)
    try:
        kept, length = [], 0
        for chunk in chunks:
            length += len(chunk)
            if length > _LONGEST:
                raise ValueError(f"the text grows past {_LONGEST:,} characters")
            kept.append(chunk)
        return "".join(kept)
    finally:
        _turns_left.reset(token)


def _problem(node: nodes.Node, macros: set[str]) -> str | None:
    """Say what is wrong with one construct; None when it may stand."""
    from jinja2 import nodes

    match node:
        case nodes.Import() | nodes.FromImport() | nodes.Include() | nodes.Extends():
            return "a template cannot load another one; write it out"
        case nodes.CallBlock() | nodes.FilterBlock() | nodes.AssignBlock() | nodes.ScopedEvalContextModifier():
            return f"this construct ({type(node).__name__}) is not allowed; use plain blocks, if, for and set"
        case nodes.Mul() | nodes.Pow() | nodes.Mod() | nodes.FloorDiv() | nodes.Div():
            return "arithmetic is not allowed here; compute it before the call and pass it as an input"
        case nodes.Filter(name=str(name)) if name not in FILTERS:
            return f"No filter named {name!r}; the filters are {', '.join(sorted(FILTERS))}"
        case nodes.Test(name=str(name)) if name not in environment().tests:
            near = did_you_mean(name, environment().tests)
            return f"No test named {name!r}{near}; write for instance {{% if text is defined %}}"
        case nodes.Getattr(attr=str(name)) | nodes.Name(name=str(name)) if name.startswith("_"):
            return f"{name!r}: names that begin with an underscore are not for templates"
        case nodes.Call():
            return _call_problem(node, macros)
        case nodes.Macro() if any(True for _ in node.find_all(nodes.Call)):
            return f"the macro {node.name!r} calls another one; macros cannot be nested"
        case nodes.Assign() if any(True for _ in node.node.find_all(_GROWING())) or isinstance(node.node, _GROWING()):
            return "set may only name a value; build the text where it is printed"
        case nodes.Const(value=str(text)) if len(text) > _LONGEST_CONSTANT:
            return f"a text in the template is longer than {_LONGEST_CONSTANT:,} characters"
        case nodes.For() if node.recursive:
            return "a recursive loop is not allowed"
    return None


def _call_problem(node: nodes.Call, macros: set[str]) -> str | None:
    from jinja2 import nodes

    if not isinstance(node.node, nodes.Name) or node.node.name not in macros:
        return "only the template's own macros can be called; use a filter, as in {{ text | upper }}"
    inner = [part for argument in [*node.args, *node.kwargs] for part in _walk(argument)]
    if any(isinstance(part, nodes.Call) for part in inner):
        return "a macro call cannot stand inside another one"
    return None


def _GROWING() -> tuple[type[nodes.Node], ...]:  # noqa: N802 - a constant that must not import Jinja before its time
    from jinja2 import nodes

    return (nodes.Filter, nodes.Concat, nodes.Add, nodes.Call, nodes.List, nodes.Tuple, nodes.Dict)


def _walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _walk(child)


def _counted(values: Iterable[Any]) -> Iterator[Any]:
    """Hand on the values of a loop while its template has turns left."""
    for value in values:
        left = _turns_left.get() - 1
        if left < 0:
            raise ValueError(f"the loops take more than {_TURNS:,} turns")
        _turns_left.set(left)
        yield value


def _json(value: object) -> str:
    """Write a value as JSON for a model to read: Jinja's own filter is for HTML, and writes `<` and `é` as numbers."""
    return json.dumps(value, ensure_ascii=False)


def _printable(value: object) -> object:
    """Refuse to print what is never meant: the word None, a function, a whole table."""
    if isinstance(value, str | int | float):
        return value
    if value is None:
        raise TypeError("a value is None; guard it with {% if name %}")
    if type(value).__name__.endswith("Undefined"):
        return value  # which then raises, and names the variable
    if callable(value) or isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__} cannot be printed; name the part that you want")
    if isinstance(value, list | tuple):
        raise TypeError("a list cannot be printed; loop over it, or write {{ name | join(', ') }}")
    return str(value)
