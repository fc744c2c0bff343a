"""How one example looks: a Jinja template of three blocks, rendered in a sandbox.

    {% block instruction %}Classify the sentiment as {{ labels | join(", ") }}.{% endblock %}
    {% block input %}Text: {{ text }}{% endblock %}
    {% block output %}Sentiment: {{ output }}{% endblock %}

Every shot and the question go through the same two blocks, so they cannot drift apart. Values are data: they are
put in by name and never read as template source. What stands before `{{ output }}` is the cue.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot._checks import did_you_mean
from fewshot._task_files import read_file
from fewshot.errors import TaskError
from fewshot.prompts.sandbox import environment, rendered, vet

if TYPE_CHECKING:
    import jinja2
    from jinja2 import nodes

__all__ = ["BLOCKS", "PROVIDED", "Template", "faults", "plain_template", "variables_of"]

BLOCKS = ("instruction", "input", "output")
PROVIDED = frozenset({"labels", "descriptions", "no_label", "output"})
"""Variables that a template may use without declaring them."""

_MARK = "\x00output\x00"
_MAX_SOURCE = 100_000


class Template:
    """A compiled prompt template.

    Arguments:
        source: the template text, with the blocks `input` and `output`, and mostly `instruction`.
        path: where it was read from, for error messages.

    Raises:
        TaskError: the text is not a valid template, or a block is missing; with file and line.
    """

    def __init__(self, source: str, path: str | Path = "<template>") -> None:
        self.source = source
        self.path = str(path)
        if len(source) > _MAX_SOURCE:
            raise TaskError(f"the template is longer than {_MAX_SOURCE:,} characters", path=self.path)

    def __reduce__(self) -> tuple[object, ...]:
        return Template, (self.source, self.path)

    @classmethod
    def of(cls, text: str, name: str, inputs: Mapping[str, Any] | None = None) -> Template:
        """Make a template in code: of the three blocks, or of an instruction and the inputs with their defaults."""
        return cls(text if "{%" in text and "block" in text else plain_template(text, inputs), f"<{name}>")

    @classmethod
    def read(cls, path: Path) -> Template:
        """Read a template file; raises TaskError when it is missing, not UTF-8 or not the folder's own."""
        return cls(read_file(path), path)

    @cached_property
    def _compiled(self) -> jinja2.Template:
        from jinja2 import TemplateSyntaxError

        try:
            vet(environment().parse(self.source), self.path)
            compiled = environment().from_string(self.source)
        except TemplateSyntaxError as error:
            raise TaskError(str(error.message).rstrip("."), path=self.path, line=error.lineno) from error
        except RecursionError as error:
            raise TaskError("the template is nested too deep", path=self.path) from error
        except ValueError as error:  # a number of thousands of digits, say
            raise TaskError(f"the template cannot be read: {error}", path=self.path) from error
        missing = [name for name in ("input", "output") if name not in compiled.blocks]
        if missing:
            raise TaskError(
                f"no block {missing[0]!r}; add {{% block {missing[0]} %}}…{{% endblock %}}", path=self.path, line=1
            )
        return compiled

    @cached_property
    def variables(self) -> Mapping[str, Mapping[str, int]]:
        """For each block, the variables that it takes from outside, and the line where each stands first."""
        self._compiled  # noqa: B018 - a syntax error is told with its line
        return variables_of(environment().parse(self.source))

    def free(self, parameters: Iterable[str]) -> list[str]:
        """Give the variables of the input block that nothing else provides: the inputs, in their order."""
        constant = {*parameters, *PROVIDED}
        return [name for name in self.variables.get("input", {}) if name not in constant]

    def check(self, inputs: Iterable[str], parameters: Iterable[str]) -> None:
        """Compare the blocks and variables used with those declared.

        Raises:
            TaskError: the first of `faults`, with file and line.
        """
        self._compiled  # noqa: B018 - compiling first gives the better message for a syntax error
        for _, line, message, fix in faults(environment().parse(self.source), inputs, parameters):
            raise TaskError(f"{message}; {fix}" if fix else message, path=self.path, line=line)

    def instruction(self, variables: Mapping[str, Any]) -> str:
        """Render what the task is; empty when the template has no such block."""
        return self._render("instruction", variables).strip() if "instruction" in self._compiled.blocks else ""

    def input(self, variables: Mapping[str, Any]) -> str:
        """Render one input, without the cue."""
        return self._render("input", variables).strip("\n")

    def cue(self, variables: Mapping[str, Any]) -> str:
        """Render what stands before the output, such as `Sentiment:`; it ends a prompt."""
        before, mark, _ = self._render("output", {**variables, "output": _MARK}).partition(_MARK)
        if not mark:
            raise TaskError("the output block must print {{ output }} whatever the variables", path=self.path)
        return before.strip()

    def _render(self, block: str, variables: Mapping[str, Any]) -> str:
        from jinja2 import TemplateError

        context = self._compiled.new_context(dict(variables))
        try:
            return rendered(self._compiled.blocks[block](context))
        except TemplateError as error:
            raise TaskError(f"in block {block!r}: {error.message}", path=self.path, line=self._line(error)) from error
        except (ArithmeticError, TypeError, ValueError, LookupError, RecursionError) as error:
            raise TaskError(f"in block {block!r}: {error}", path=self.path, line=self._line(error)) from error

    def _line(self, error: BaseException) -> int | None:
        """Find the template line that an error raised while rendering comes from."""
        line, trace = None, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == "<template>":
                line = self._compiled.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line


def variables_of(tree: nodes.Template) -> Mapping[str, Mapping[str, int]]:
    """Give the variables that each block of a syntax tree takes from outside, and the line where each stands first."""
    from jinja2 import meta, nodes

    found: dict[str, dict[str, int]] = {}
    for block in tree.find_all(nodes.Block):
        names = meta.find_undeclared_variables(_whole(block))
        lines: dict[str, int] = {}
        for node in block.find_all(nodes.Name):
            if node.name in names:
                lines.setdefault(node.name, node.lineno)
        found[block.name] = lines
    return found


def _whole(block: nodes.Block) -> nodes.Template:
    """Make a template of one block, since Jinja looks for variables in whole templates only."""
    from jinja2 import nodes

    template = nodes.Template(block.body, lineno=block.lineno)
    template.set_environment(environment())
    return template


def faults(
    tree: nodes.Template, inputs: Iterable[str], parameters: Iterable[str]
) -> Iterator[tuple[str, int | None, str, str]]:
    """Give what in a syntax tree does not go with what is declared: a code, the line, the fault, how to put it right.

    That is a block that is missing or unknown, a variable that a block does not have (the instruction must stay the
    same from call to call, so no input), an input that is not printed, and no `{{ output }}`.
    """
    from jinja2 import nodes

    inputs = list(inputs)
    lines = {block.name: block.lineno for block in tree.find_all(nodes.Block)}
    for name, line in lines.items():
        if name not in BLOCKS:
            yield "unknown-block", line, f"unknown block {name!r}{did_you_mean(name, BLOCKS)}", _THE_BLOCKS
    for name in ("input", "output"):
        if name not in lines:
            yield "missing-block", 1, f"no block {name!r}", f"add {{% block {name} %}}…{{% endblock %}}"
    everywhere = {*parameters, *PROVIDED}
    allowed = {
        "instruction": everywhere - {"output"},
        "input": {*inputs, *everywhere} - {"output"},
        "output": everywhere,
    }
    variables, outside = variables_of(tree), _set_outside(tree)
    for block, used in variables.items():
        for name, line in used.items():
            if block in allowed and name not in allowed[block]:
                yield _wrong(name, block, line, inputs, allowed[block], outside)
    if "output" in variables and "output" not in variables["output"]:
        yield "no-output", lines["output"], "the output block does not print the output", "put {{ output }} into it"
    for name in inputs:
        if "input" in variables and name not in variables["input"]:
            message = f"the input {name!r} is declared but not used in the input block"
            yield "unused-input", lines["input"], message, f"print {{{{ {name} }}}} there, or do not declare it"


_THE_BLOCKS = f"the blocks are {', '.join(BLOCKS)}"


def _wrong(
    name: str, block: str, line: int, inputs: Iterable[str], allowed: Iterable[str], outside: Iterable[str]
) -> tuple[str, int, str, str]:
    if name in inputs:
        message = f"{name!r} is an input and changes with every call, but the {block} block must stay the same"
        return "not-constant", line, message, "use it in the input block only"
    if name == "output":
        return "unknown-variable", line, "{{ output }} belongs in the output block", ""
    if name in outside:
        message = f"{name!r} is made outside the block {block!r}, which does not see it"
        return "unknown-variable", line, message, "move its set or macro into the block"
    names = sorted(allowed)
    message = f"unknown variable {name!r}{did_you_mean(name, names)}"
    return "unknown-variable", line, message, f"known here: {', '.join(names)}"


def _set_outside(tree: nodes.Template) -> set[str]:
    """Give the names that are set, or the macros made, outside every block."""
    from jinja2 import nodes

    made = {node.name for node in tree.body if isinstance(node, nodes.Macro)}
    for node in tree.body:
        if isinstance(node, nodes.Assign):
            targets = [node.target, *node.target.find_all(nodes.Name)]
            made |= {target.name for target in targets if isinstance(target, nodes.Name)}
    return made


def plain_template(instruction: str, inputs: Mapping[str, Any] | None = None) -> str:
    """Make the three blocks from an instruction, which is put in as data, and the inputs with their defaults.

    One input named `text` looks like `Input: …`, any other like `Name: …`, a line each.
    """
    quoted = json.dumps(instruction, ensure_ascii=False)
    lines = []
    for name, default in ({"text": ...} if inputs is None else inputs).items():
        said = "Input" if name == "text" else name.replace("_", " ").capitalize()
        line = f"{said}: {{{{ {name} }}}}\n"
        lines.append(f"{{% if {name} is not none %}}{line}{{% endif %}}" if default is None else line)
    return (
        f"{{% block instruction %}}{{{{ {quoted} }}}}{{% endblock %}}\n"
        f"{{% block input %}}{''.join(lines).removesuffix(chr(10))}{{% endblock %}}\n"
        "{% block output %}Output: {{ output }}{% endblock %}\n"
    )
