"""The documentation does what it says: Python blocks run, commands exist, links lead somewhere, the site builds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fewshot import cli

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "README.ko.md"]
WITH_CODE = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]

each_page = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])


@pytest.mark.local
@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("page", WITH_CODE, ids=[page.name for page in WITH_CODE])
def test_the_python_blocks_of_a_page_run_one_after_the_other(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_MODEL", "local")
    names = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)


@each_page
def test_every_command_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = "\n".join([*blocks(page, "sh"), *re.findall(r"`(fewshot [^`]+)`", text)])
    assert set(re.findall(r"(?<![\w./-])fewshot ([a-z]+)", commands)) <= set(cli.COMMANDS)


@each_page
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    for link in links:
        # the site copies the notebooks beside its pages
        target = ROOT / "examples" / Path(link).name if link.startswith("notebooks/") else page.parent / link
        assert target.exists(), link


@each_page
def test_every_included_file_is_there(page: Path) -> None:
    for name in re.findall(r"```\{include\} (\S+)", page.read_text(encoding="utf-8")):
        assert (page.parent / name).is_file(), name


def test_the_reference_names_what_is_there() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for module, members in re.findall(r"automodule:: (\S+)\n   :members:(.*)", text):
        for name in filter(None, (member.strip() for member in members.split(","))):
            assert hasattr(import_module(module), name), f"{module}.{name}"


def test_the_korean_readme_holds_the_code_of_the_english_one() -> None:
    english, korean = (set(map(parsed, blocks(ROOT / name, "python"))) for name in ("README.md", "README.ko.md"))
    assert english == korean
    assert set(blocks(ROOT / "README.md", "sh")) == set(blocks(ROOT / "README.ko.md", "sh"))


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for name in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(name, reason="the extra 'docs' is not installed")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(ROOT / "docs")]
    done = subprocess.run([*command, str(tmp_path / "site")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Quickstart" in (tmp_path / "site" / "notebooks" / "01_quickstart.html").read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """Give the code blocks of a page in a language."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def parsed(block: str) -> str:
    """Give a block without its comments, which may be in another language."""
    return ast.dump(ast.parse(block))
