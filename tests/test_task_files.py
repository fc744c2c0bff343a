"""Task folders from elsewhere: nothing out of the folder is read, and nothing without end."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from pathlib import Path

import pytest

from fewshot import load
from fewshot.authoring.check import check
from fewshot.errors import TaskError

FILES = ("task.toml", "prompt.jinja", "examples.jsonl")
SHIPPED = Path(__file__).resolve().parents[1] / "templates" / "sentiment"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "sentiment"))


def refused(folder: Path, name: str, match: str) -> None:
    """See that loading refuses a file by name, and that checking finds the same."""
    with pytest.raises(TaskError, match=match) as caught:
        load(folder)
    assert caught.value.path == str(folder / name)
    found = [finding for finding in check(folder).findings if finding.severity == "error"]
    assert Path(found[0].path).name == name
    assert re.search(match, found[0].message)


@pytest.mark.parametrize("name", FILES)
def test_a_link_out_of_the_folder_is_told_and_not_followed(folder: Path, name: str) -> None:
    private = folder.parent / f"private-{name}"
    (folder / name).rename(private)
    (folder / name).symlink_to(private)
    refused(folder, name, "is a link out of its folder")


@pytest.mark.parametrize("name", FILES)
def test_a_link_inside_the_folder_is_fine(folder: Path, name: str) -> None:
    (folder / name).rename(folder / f"real-{name}")
    (folder / name).symlink_to(f"real-{name}")
    assert load(folder).examples


def test_a_folder_may_be_a_link_itself(folder: Path) -> None:
    (folder.parent / "linked").symlink_to(folder)
    assert load(folder.parent / "linked").examples


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("device", ["/dev/zero", "/proc/self/environ"])
def test_a_device_is_not_read(folder: Path, name: str, device: str) -> None:
    if not Path(device).exists():
        pytest.skip(f"there is no {device} here")
    (folder / name).unlink()
    (folder / name).symlink_to(device)
    refused(folder, name, "is a link out of its folder")


@pytest.mark.parametrize("name", FILES[1:])
def test_a_pipe_or_a_folder_is_no_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, name, "is not a regular file")
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, name, "is not a regular file")


@pytest.mark.parametrize("name", FILES[1:])
def test_a_link_to_itself_is_told(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(name)
    refused(folder, name, "cannot be read")


@pytest.mark.parametrize(("name", "bytes_"), [("task.toml", 60e6), ("prompt.jinja", 60e6), ("examples.jsonl", 6e9)])
def test_a_file_that_is_too_long_is_not_read(folder: Path, name: str, bytes_: float) -> None:
    with (folder / name).open("r+b") as file:
        file.truncate(int(bytes_))  # a hole, which takes no room
    refused(folder, name, "bytes, and such a file at most")


def test_packed_examples_are_not_unpacked(folder: Path) -> None:
    (folder / "examples.jsonl").write_bytes(gzip.compress((folder / "examples.jsonl").read_bytes()))
    refused(folder, "examples.jsonl", "is packed")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" + ".".join("a" * 50_000) + "]\n", "nested too deep"),
        ("x = {" + ".".join("a" * 50_000) + " = 1}\n", "nested too deep"),
        ("x = " + "[" * 50_000 + "]" * 50_000, "nested too deep"),
        ("x = " + "9" * 5000, "is not valid TOML"),
        ("x = [", "is not valid TOML"),
    ],
)
def test_toml_that_would_take_for_ever_is_refused(folder: Path, text: str, match: str) -> None:
    (folder / "task.toml").write_text((folder / "task.toml").read_text(encoding="utf-8") + text, encoding="utf-8")
    refused(folder, "task.toml", match)


def test_a_schema_is_read_from_the_folder_alone(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SHIPPED.parent / "extract", tmp_path / "extract"))
    (tmp_path / "schema.json").write_bytes((folder / "schema.json").read_bytes())
    (folder / "schema.json").unlink()
    (folder / "schema.json").symlink_to(tmp_path / "schema.json")
    refused(folder, "schema.json", "link out of its folder")
