"""Tasks that come with other installed packages: found by entry point, without running the package."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fewshot.cli.main import main
from fewshot.folders import loader as folder
from fewshot.task import load

EXPLODES = "raise RuntimeError('the package was run')"
PROMPT = "{% block input %}In: {{ text }}{% endblock %}{% block output %}Out: {{ output }}{% endblock %}"


def install(site: Path, package: str, task: str, description: str) -> None:
    """Lay a package down as pip would: its folder, and the metadata with the entry point."""
    place = site.joinpath(*package.split("."), task)
    place.mkdir(parents=True)
    (place / "task.toml").write_text(f'description = "{description}"\noutput = "text"\n', encoding="utf-8")
    (place / "prompt.jinja").write_text(PROMPT, encoding="utf-8")
    (site / package.split(".")[0] / "__init__.py").write_text(EXPLODES, encoding="utf-8")
    about = site / f"{package.replace('.', '_')}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('.', '-')}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[fewshot.tasks]\n{package.split('.')[0]} = {package}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "site"
    place.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(place)])
    monkeypatch.chdir(tmp_path)  # away from the templates of a checkout
    folder._installed.cache_clear()
    yield place
    folder._installed.cache_clear()


def test_a_package_brings_tasks_and_is_not_run(site: Path):
    install(site, "acme_tasks", "acme", "From the package.")
    assert load("acme").description == "From the package."
    assert "acme" in folder.names()
    assert "acme_tasks" not in sys.modules


def test_the_tasks_may_lie_deeper_in_the_package(site: Path):
    install(site, "acme_tools.data.tasks", "deep", "From within.")
    assert load("deep").description == "From within."
    assert "acme_tools" not in sys.modules


def test_a_package_comes_before_what_ships_and_after_the_environment(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    install(site, "acme_tasks", "sentiment", "The package's own.")
    assert load("sentiment").description == "The package's own."
    own = tmp_path / "own"
    install(own, "x", "y", "unused")
    (own / "x" / "y").rename(own / "sentiment")
    monkeypatch.setenv("FEWSHOT_TEMPLATES", str(own))
    assert load("sentiment").description == "unused"


def test_an_entry_point_that_leads_nowhere_is_passed_over(site: Path):
    install(site, "acme_tasks", "acme", "From the package.")
    (site / "acme_tasks-1.0.dist-info" / "entry_points.txt").write_text("[fewshot.tasks]\ngone = gone.away\n")
    assert "acme" not in folder.names()
    assert load("sentiment").name == "sentiment"


def test_the_command_lists_them(site: Path, capsys: pytest.CaptureFixture[str]):
    install(site, "acme_tasks", "acme", "From the package.")
    assert main(["tasks", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert str(site / "acme_tasks" / "acme") in [task["path"] for task in listed]
