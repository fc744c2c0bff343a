"""What the surroundings may offer is named in one place, and pyproject, the code and the documents agree with it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import fewshot
from fewshot._environment import EXTRAS, SECRET, VARIABLES, missing
from fewshot.cli.doctor import _READ_BY_OPENAI
from fewshot.cli.main import main

ROOT = Path(__file__).parent.parent
CODE = "\n".join(path.read_text(encoding="utf-8") for path in Path(fewshot.__file__).parent.rglob("*.py"))
DOCUMENTS = "\n".join(path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
DISTRIBUTIONS = {"yaml": "pyyaml", "sklearn": "scikit-learn", "opentelemetry": "opentelemetry-api"}


def test_every_extra_is_one_that_can_be_installed_and_brings_its_modules() -> None:
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(offered) == {*EXTRAS, "all", "dev", "docs"}
    for extra, modules in EXTRAS.items():
        brought = {re.split(r"[\[<>=;]", requirement)[0].lower() for requirement in offered[extra]}
        assert {DISTRIBUTIONS.get(module, module).replace("_", "-") for module in modules} == {
            name.replace("_", "-") for name in brought
        }, extra


def test_no_text_names_an_extra_that_is_not_one() -> None:
    named = {part for extras in re.findall(r"fewshot\[([a-z,]+)\]", CODE + DOCUMENTS) for part in extras.split(",")}
    assert named <= {*EXTRAS, "all", "dev", "docs"}
    assert set(re.findall(r'missing\([^)]*?", "([a-z]+)"', CODE)) <= set(EXTRAS)


def test_every_environment_variable_that_is_named_is_in_the_table_and_in_the_code() -> None:
    others = {"OPENAI_MODEL", "OPENAI_API_BASE", *_READ_BY_OPENAI}  # what other libraries call or read as theirs
    named = set(re.findall(r"\b(?:FEWSHOT|OPENAI)_[A-Z_]+\b", CODE + DOCUMENTS)) - others
    assert named == set(VARIABLES)
    used = CODE.replace((Path(fewshot.__file__).parent / "_environment.py").read_text(encoding="utf-8"), "")
    assert [name for name in VARIABLES if name not in used] == []


def test_what_needs_an_extra_says_how_to_get_it() -> None:
    said = str(missing("YAML files need an extra", "files"))
    assert said.startswith("YAML files need an extra: pip install 'fewshot[files]'")


def test_the_doctor_tells_every_variable_and_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRET:
        monkeypatch.setenv(name, "sk-secret")
    main(["doctor"])
    said = capsys.readouterr().out
    assert all(re.search(rf"\b{name}\b", said) for name in VARIABLES)
    assert all(re.search(rf"\b{extra}\b", said) for extra in EXTRAS)
    assert "sk-secret" not in said
