"""The configuration of the command line: `fewshot.toml`, or `[tool.fewshot]` in `pyproject.toml`, where it is run.

    model = "fast"
    timeout = 120

    [aliases]
    fast = "gpt-6-luna"

A setting given on the command line or by a task's own folder wins. Where data goes and with which key is said in the
environment only: a file that came with somebody's folder must not send it elsewhere.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewshot._options import table
from fewshot.errors import ConfigError, InputError
from fewshot.settings import Settings

__all__ = ["Configuration", "configured"]


@dataclass(frozen=True)
class Configuration:
    """What the file says; empty where there is none."""

    path: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Short names of models."""


def configured() -> Configuration:
    """Read the configuration of the current folder.

    Raises:
        ConfigError: the file is not valid; names the file and what is wrong.
    """
    path, said = _table()
    if path is None:
        return Configuration()
    aliases = said.pop("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(model, str) for model in aliases.values()):
        raise ConfigError(f'{path}: [aliases] must be names of models, as fast = "gpt-6-luna"')
    known = table(Settings)
    for name in said:
        if name in known and not known[name].in_folder:
            raise ConfigError(f"{path}: {name!r} has no place in a file of the folder; set it in the environment")
    try:
        Settings().updated(said)
    except InputError as error:
        raise ConfigError(f"{path}: {error}") from error
    return Configuration(path, said, aliases)


def _table() -> tuple[Path | None, dict[str, Any]]:
    for path, keys in ((Path("fewshot.toml"), ()), (Path("pyproject.toml"), ("tool", "fewshot"))):
        try:
            found: Any = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            if keys and "tool.fewshot" not in _text(path):
                continue
            raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict):
            return path, found
        if found is not None:
            raise ConfigError(f"{path}: [tool.fewshot] must be a table")
    return None, {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
