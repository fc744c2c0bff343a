"""The documentation site: `python -m sphinx -W -b html docs build/site`.

Pages are Markdown (MyST), the notebooks are shown as they are kept in `examples/`, and the reference is made here when
the site is built: names from the package's `__all__`, commands from their parsers. Nothing is run, nothing suppressed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import fewshot
from fewshot.cli.main import COMMANDS, GROUPS, parser_of

HERE = Path(__file__).parent
ROOT = HERE.parent
NOTEBOOKS, MADE = HERE / "notebooks", HERE / "reference"

project = "fewshot"
author = "the fewshot maintainers"
version = release = importlib.metadata.version("fewshot")
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build", "**.ipynb_checkpoints"]
html_theme = "furo"
html_title = f"fewshot {release}"

nb_execution_mode = "off"
myst_heading_anchors = 3

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_use_ivar = True  # attributes that a docstring tells of are not described twice

PLACES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files of the repository that are pages of the site."""


def on_the_site(text: str) -> str:
    """Point the links of a file of the repository to where the site has what they name."""

    def moved(link: re.Match[str]) -> str:
        path, anchor = link[2], link[3] or ""
        if not (path.endswith((".md", ".ipynb", ".svg", ".png")) or path in PLACES):
            return f"{link[1].removeprefix('[').removesuffix(']')} (`{path}`)"  # a file of the repository alone
        name = PLACES.get(path) or re.sub(r"^docs/", "", re.sub(r"^examples/(?=.*\.ipynb$)", "notebooks/", path))
        return f"{link[1]}({name}{anchor})"

    return re.sub(r"(!?\[[^\]]*\])\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)", moved, text)


def with_included(_app: Any, _page: str, source: list[str]) -> None:
    """Put the files of the repository in whose place a page says `{include}`."""

    def text_of(match: re.Match[str]) -> str:
        return on_the_site((HERE / match[1]).read_text(encoding="utf-8"))

    source[0] = re.sub(r"```\{include\} (\S+)\n```", text_of, source[0])


def names_page() -> str:
    """Give the reference of every name of the package."""
    groups: dict[str, list[str]] = {"Functions": [], "Tasks and results": [], "Errors": []}
    for name in fewshot.__all__:
        value = getattr(fewshot, name)
        if isinstance(value, type) and issubclass(value, Exception):
            groups["Errors"] += [f".. autoexception:: fewshot.{name}", "   :members:", "   :show-inheritance:", ""]
        elif isinstance(value, type):
            groups["Tasks and results"] += [f".. autoclass:: fewshot.{name}", "   :members:", "   :undoc-members:", ""]
        else:
            lines = inspect.cleandoc(value.__doc__ or "").splitlines()
            signature = f"fewshot.{name}{inspect.signature(value)}"
            groups["Functions"] += [
                f".. py:function:: {signature}",
                "",
                *(f"   {line}" for line in napoleon(lines)),
                "",
            ]
    return "# Names of the package\n\nWhat `from fewshot import …` gives.\n" + "".join(
        f"\n## {title}\n\n```{{eval-rst}}\n" + "\n".join(lines) + "\n```\n" for title, lines in groups.items()
    )


def napoleon(lines: list[str]) -> list[str]:
    """Read the sections of a docstring."""
    from sphinx.ext.napoleon import Config, GoogleDocstring

    return str(GoogleDocstring(lines, Config(napoleon_google_docstring=True))).splitlines()


def commands_page() -> str:
    """Give the reference of every command and its options, from the parsers themselves."""
    lines = ["# The command line", ""]
    parsers: dict[str, argparse.ArgumentParser] = next(
        dict(action.choices) for action in parser_of()._actions if isinstance(action, argparse._SubParsersAction)
    )
    lines += [
        "Data goes to standard output, everything meant for a person to standard error. Exit codes: 0 done, 1 some",
        "rows failed, 2 wrong use or configuration, 130 interrupted. Options are taken by their whole names. Defaults",
        "and names of models may stand in `fewshot.toml`, or under `[tool.fewshot]` in `pyproject.toml`, of the folder",
        "where a command is run; an option and what a task's own folder says win over it:",
        "",
        "```toml",
        'model = "fast"',
        "timeout = 120",
        "",
        "[aliases]",
        'fast = "gpt-6-luna"',
        "```",
    ]
    for group, names in GROUPS.items():
        lines += ["", f"## {group}"]
        for name in names:
            lines += ["", f"### fewshot {name}", "", COMMANDS[name][0].upper() + COMMANDS[name][1:] + ".", ""]
            lines += ["| | |", "|---|---|"]
            for action in parsers[name]._actions:
                lines.append(
                    f"| {shown(action)} | {(action.help or '').replace('%%', '%').replace('|', chr(92) + '|')} |"
                )
    return "\n".join(lines) + "\n"


def shown(action: argparse.Action) -> str:
    """Show an option as it is typed."""
    value = action.metavar or (",".join(map(str, action.choices)) if action.choices else action.dest.upper())
    value = value if isinstance(value, str) else " ".join(value)
    if not action.option_strings:
        return f"`{value}`"
    return f"`{', '.join(action.option_strings)}{'' if action.nargs == 0 else ' ' + value}`"


def setup(app: Any) -> None:
    """Make what is not kept: the notebooks beside the pages, and the reference."""
    for folder in (NOTEBOOKS, MADE):
        folder.mkdir(exist_ok=True)
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        shutil.copyfile(notebook, NOTEBOOKS / notebook.name)
    (MADE / "names.md").write_text(names_page(), encoding="utf-8")
    (MADE / "commands.md").write_text(commands_page(), encoding="utf-8")
    app.connect("source-read", with_included)
