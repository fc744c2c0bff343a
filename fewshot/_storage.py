"""Where things are kept between runs: one private folder of the user's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fewshot.errors import ConfigError

__all__ = ["cache_dir", "write_private"]


def cache_dir(*parts: str) -> Path:
    """Give a folder inside the cache folder, made for the user alone if it is not there.

    The cache folder is `FEWSHOT_CACHE_DIR`, else the platform's own place for caches.

    Raises:
        ConfigError: it cannot be made.
    """
    folder = Path(os.environ.get("FEWSHOT_CACHE_DIR") or _default())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in parts:
            folder /= part
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        message = f"the cache folder {folder} cannot be made: {error.strerror}"
        raise ConfigError(f"{message}; name one that can be written in FEWSHOT_CACHE_DIR") from error
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a file that only the user can read, all of it or nothing; raises ConfigError where that cannot be."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise ConfigError(f"{message}; name a folder that can be in FEWSHOT_CACHE_DIR") from error


def _default() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "fewshot"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fewshot"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fewshot"
