"""What can be wrong with a `prompt.jinja`: found in its syntax tree, without rendering it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.errors import TaskError
from fewshot.folders.findings import Finding, error, of_error, warning
from fewshot.folders.spec import line_of
from fewshot.prompts.sandbox import environment, problems
from fewshot.prompts.template import BLOCKS, Template, faults, variables_of

if TYPE_CHECKING:
    from jinja2 import nodes

__all__ = ["check_template"]

_LONG_FIXED = 100
"""Characters of fixed text in the input block that are too many to repeat in every shot."""


def check_template(
    path: Path, inputs: Mapping[str, Any], parameters: Mapping[str, Any], *, in_rows: frozenset[str] = frozenset()
) -> tuple[Template | None, list[Finding]]:
    """Give the template, None where it cannot be rendered, and all that is wrong with it.

    Arguments:
        in_rows: parameters that examples name: those choose examples, and so do something even if not printed.
    """
    from jinja2 import TemplateSyntaxError

    try:
        template = Template.read(path)
        tree = environment().parse(template.source)
    except TaskError as problem:
        return None, [of_error("template", path, problem)]
    except TemplateSyntaxError as problem:
        return None, [error("template", path, problem.lineno, str(problem.message))]
    except RecursionError:
        return None, [error("template", path, None, "the template is nested too deep")]
    found = [error("not-allowed", path, line, problem) for line, problem in problems(tree)]
    found += _order(tree, path)
    variables = _variables_of(tree)
    found += [error(code, path, line, said, fix) for code, line, said, fix in faults(tree, inputs, parameters)]
    broken = any(finding.severity == "error" for finding in found)
    found += _outside(tree, path)
    found += _unused(tree, variables, path, [name for name in parameters if name not in in_rows])
    found += _cue(tree, path)
    found += _fixed_part(tree, path, inputs)
    return None if broken else template, found


def _order(tree: nodes.Template, path: Path) -> Iterator[Finding]:
    names = {block.name: block.lineno for block in _all_blocks(tree)}
    known = [name for name in names if name in BLOCKS]
    if known != sorted(known, key=BLOCKS.index):
        message = "the blocks stand in another order than they are sent"
        yield warning("block-order", path, names[known[0]], message, f"write them as {', '.join(BLOCKS)}")


def _variables_of(tree: nodes.Template) -> Mapping[str, Mapping[str, int]]:
    """Find the variables of each block; Jinja gives none for a template with a filter that it does not know."""
    from jinja2 import nodes

    for node in tree.find_all((nodes.Filter, nodes.Test)):
        known: Mapping[str, Any] = environment().filters if isinstance(node, nodes.Filter) else environment().tests
        if node.name not in known:
            node.name = "string"
    return variables_of(tree)


def _outside(tree: nodes.Template, path: Path) -> Iterator[Finding]:
    """Find what stands outside the blocks, and so is never sent."""
    from jinja2 import nodes

    for node in tree.body:
        line = node.lineno
        if isinstance(node, nodes.Output):
            text = "".join(part.data if isinstance(part, nodes.TemplateData) else "{{…}}" for part in node.nodes)
            if not text.strip():
                continue
            line += len(text[: len(text) - len(text.lstrip())].split("\n")) - 1
        elif isinstance(node, nodes.Block):
            continue
        hidden = "is never sent" if isinstance(node, nodes.Output) else "no block sees it"
        yield warning("outside", path, line, f"this stands outside the blocks and {hidden}", "move it into a block")


def _unused(
    tree: nodes.Template, variables: Mapping[str, Mapping[str, int]], path: Path, parameters: Iterable[str]
) -> Iterator[Finding]:
    from jinja2 import nodes

    used = {name for block in variables.values() for name in block}
    for name in parameters:
        if name not in used:
            message = f"the parameter {name!r} is used by no block and by no example"
            toml = path.with_name("task.toml")
            yield warning("unused-parameter", toml, line_of(toml, name), message, "print it, or remove it")
    for block in _all_blocks(tree):
        read = {node.name for node in block.find_all(nodes.Name) if node.ctx == "load"}
        for made in block.find_all(nodes.Assign):
            targets = {node.name for node in _and_below(made.target) if isinstance(node, nodes.Name)}
            for name in sorted(targets - read):
                yield warning("unused-variable", path, made.lineno, f"{name!r} is set but not used", "remove it")
        for macro in block.find_all(nodes.Macro):
            if macro.name not in read:
                message = f"the macro {macro.name!r} is not called in its block"
                yield warning("unused-variable", path, macro.lineno, message, "remove it")


def _cue(tree: nodes.Template, path: Path) -> Iterator[Finding]:
    """Find an output block without a cue, or with something after the output."""
    parts = _in_order(tree, "output")
    places = [number for number, (_, text, name) in enumerate(parts) if name == "output"]
    if not places:
        return
    line = parts[places[0]][0]
    if not any(text.strip() or name for _, text, name in parts[: places[0]]):
        message = "nothing stands before {{ output }}: the text form has no cue that says where the answer begins"
        yield warning("no-cue", path, line, message, "write for instance Answer: {{ output }}")
    if any(text.strip() or name for _, text, name in parts[places[0] + 1 :]):
        message = "what stands after {{ output }} is never sent"
        yield warning("after-output", path, line, message, "move it into the instruction")


def _fixed_part(tree: nodes.Template, path: Path, inputs: Mapping[str, Any]) -> Iterator[Finding]:
    """Find text that never changes, but stands among what does."""
    parts = _in_order(tree, "input")
    if not any(name in inputs for _, _, name in parts):
        return
    length = sum(len(text.strip()) for _, text, _ in parts)
    if length > _LONG_FIXED:
        line = max(parts, key=lambda part: len(part[1]))[0]
        message = (
            f"{length} characters that never change stand in the input block: they are repeated in every shot, and "
            "come after the part that a prompt cache keeps"
        )
        yield warning("static-late", path, line, message, "move them to the instruction block, which is sent first")


def _in_order(tree: nodes.Template, name: str) -> list[tuple[int, str, str]]:
    """Give the parts of a block as they are printed: line, fixed text, variable (one of the two is empty)."""
    from jinja2 import nodes

    parts = []
    for block in _all_blocks(tree):
        if block.name == name:
            for printed in block.find_all(nodes.Output):
                for node in printed.nodes:
                    if isinstance(node, nodes.TemplateData):
                        parts.append((node.lineno, node.data, ""))
                    else:
                        names = (inner.name for inner in _and_below(node) if isinstance(inner, nodes.Name))
                        parts.append((node.lineno, "", next(names, "")))
    return parts


def _all_blocks(tree: nodes.Template) -> Iterator[nodes.Block]:
    from jinja2 import nodes

    return iter(tree.find_all(nodes.Block))


def _and_below(node: nodes.Node) -> Iterator[nodes.Node]:
    from jinja2 import nodes

    yield node
    yield from node.find_all(nodes.Node)
