"""The fits that are kept in the cache folder, each under a hash of everything that it was fitted for.

So none can be found for another prompt, model, set of labels or number of shots; and what is in force can be told.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewshot._storage import cache_dir, write_private
from fewshot.calibration.calibration import Calibration
from fewshot.errors import ConfigError
from fewshot.models.connection import Connection
from fewshot.models.endpoint import EMBEDDED_MODEL
from fewshot.settings import Settings

__all__ = ["Kept", "all_kept", "failed", "keep", "keep_here", "kept", "key_of", "place_of"]

_log = logging.getLogger("fewshot")


@dataclass(frozen=True, slots=True)
class Kept:
    """A calibration that is kept, with what it was fitted on as plain JSON values."""

    calibration: Calibration
    about: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    """The name of its file; empty where it is for this process alone."""

    @property
    def told(self) -> str:
        """Say for a person on how many rows it was fitted, by what, and where it is."""
        rows, by = self.about.get("rows") or "no", self.about.get("by") or "first use"
        where = f"kept as calibrations/{self.name} in the cache folder" if self.name else "for this process alone"
        return f"{rows} rows, by {by}, {where}"


def key_of(
    fingerprint: str, filled: Sequence[str], settings: Settings, connection: Connection, *, decides: bool
) -> str:
    """Hash what a fit is for: prompt and labels, optional inputs given, model, address, and way of asking.

    A model file of the user's own is known by its content, since there may be another of its name.
    """
    way = "decisions" if decides else settings.form or connection.form
    model, at = _asked_of(connection, settings)
    return hashlib.sha256("|".join(["3", fingerprint, model, at, way, *filled]).encode()).hexdigest()[:32]


def place_of(connection: Connection, settings: Settings) -> str:
    """Hash where a model is: its address, and what else of a request is not the prompt; or a model file's content."""
    model, at = _asked_of(connection, settings)
    return hashlib.sha256(f"{at or model}".encode()).hexdigest()[:12]


def _asked_of(connection: Connection, settings: Settings) -> tuple[str, str]:
    endpoint, model = connection.endpoint, connection.model
    if connection.local:
        return (model if model == EMBEDDED_MODEL else connection.place or model), ""
    return model, f"{(endpoint.base_url or '').rstrip('/')} {endpoint.extra} {settings.temperature}{endpoint.route}"


def kept(key: str) -> Kept | None:
    """Give the fit kept under a key; None when there is none, or what is there cannot be read."""
    place = _place(key)
    if place not in _known:
        try:
            _known[place] = _read(cache_dir("calibrations") / f"{key}.json")
        except ConfigError:  # where no folder can be made, nothing has been kept
            _known[place] = None
    return _known[place]


def keep(key: str, calibration: Calibration, about: Mapping[str, Any]) -> None:
    """Keep a calibration under its key, with what it was fitted on for a person to read.

    Raises:
        ConfigError: the cache folder cannot be written; for this process it is kept all the same.
    """
    keep_here(key, calibration, about)
    record = {"about": dict(about), "calibration": json.loads(calibration.to_json())}
    write_private(cache_dir("calibrations") / f"{key}.json", json.dumps(record, indent=1, ensure_ascii=False))
    _known[_place(key)] = Kept(calibration, dict(about), f"{key}.json")


def keep_here(key: str, calibration: Calibration, about: Mapping[str, Any]) -> None:
    """Keep a calibration for this process alone."""
    _known[_place(key)] = Kept(calibration, dict(about))


def all_kept() -> Iterator[Kept]:
    """Give every fit in the cache folder that can be read, by its name."""
    for path in sorted(cache_dir("calibrations").glob("*.json")):
        if (found := _read(path)) is not None:
            yield found


def _place(key: str) -> tuple[str, str]:
    """Give what tells a fit from that of another cache folder, without a look at the disk."""
    return os.environ.get("FEWSHOT_CACHE_DIR", ""), key


_known: dict[tuple[str, str], Kept | None] = {}
"""What `kept` has looked up, so that a call does not read a file."""
failed: dict[str, str] = {}
"""Why something could not be fitted at first use, which is not tried and paid for at every call."""


def _read(path: Path) -> Kept | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Kept(
            Calibration.from_json(json.dumps(record["calibration"])), dict(record.get("about") or {}), path.name
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        _log.warning("the calibration in %s cannot be read (%s), so it is not used: calibrate again", path, error)
        return None
