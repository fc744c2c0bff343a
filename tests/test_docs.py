"""The documentation does what it says: Python blocks run, commands exist, links lead somewhere, the site builds."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest

import fewshot
from fewshot import cli
from fewshot.settings import Settings

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
        exec(compile(block, page.name, "exec", dont_inherit=True), names)


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
        if link.startswith("reference/"):  # made when the site is built
            continue
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(name, reason="the extra 'docs' is not installed")
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(ROOT / "docs"), str(built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return built


@pytest.mark.slow
def test_the_site_has_the_notebooks_and_every_page(site: Path) -> None:
    assert "Quickstart" in (site / "notebooks" / "01_quickstart.html").read_text(encoding="utf-8")
    index = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f'href="{page.stem}.html"' in index or page.stem == "index", page.name


@pytest.mark.slow
def test_every_public_name_field_setting_and_command_has_an_anchor(site: Path) -> None:
    names = {f"fewshot.{name}" for name in fewshot.__all__}
    names |= {f"fewshot.Result.{field.name}" for field in dataclasses.fields(fewshot.Result)}
    names |= {f"fewshot.settings.Settings.{field.name}" for field in dataclasses.fields(Settings)}
    there = {anchor for page in site.rglob("*.html") for anchor in Page.of(page).anchors}
    assert names - there == set()
    commands = Page.of(site / "reference" / "commands.html").anchors
    assert {f"fewshot-{name}" for name in cli.COMMANDS} - commands == set()


@pytest.mark.slow
def test_every_option_of_a_command_is_on_its_page(site: Path) -> None:
    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for option in ("--votes", "--labels", "--min-confidence", "--max-cost", "--against", "--hold-out", "-o"):
        assert re.search(rf"{option}\b", text), option


@pytest.mark.slow
def test_no_link_of_the_site_is_dead(site: Path) -> None:
    pages = {page: Page.of(page) for page in site.rglob("*.html") if "_static" not in page.parts}
    dead = []
    for page, found in pages.items():
        for link in found.links:
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", path):
                continue
            target = (page.parent / unquote(path)).resolve() if path else page
            if not target.exists() or (anchor and target in pages and unquote(anchor) not in pages[target].anchors):
                dead.append(f"{page.relative_to(site)}: {link}")
    assert dead == []


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    @classmethod
    def of(cls, path: Path) -> Page:
        page = cls()
        page.feed(path.read_text(encoding="utf-8"))
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := found.get(name))}
        link = found.get("href" if tag == "a" else "src")
        if link and tag in ("a", "img"):
            self.links.append(link)


def blocks(page: Path, language: str) -> list[str]:
    """Give the code blocks of a page in a language."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def parsed(block: str) -> str:
    """Give a block without its comments, which may be in another language."""
    return ast.dump(ast.parse(block))
