"""`fewshot tasks` and `fewshot models`: what can be run, from where, and by which local model."""

from __future__ import annotations

import argparse
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from fewshot._storage import cache_dir
from fewshot.cli.terminal import put_found, tell_line
from fewshot.errors import TaskError
from fewshot.folders.loader import find, hides, names, ships
from fewshot.models.endpoint import EMBEDDED_MODEL, SERVERS, offline
from fewshot.models.local.hub import known
from fewshot.task import load

__all__ = ["add_arguments", "origin", "run"]

_RECOMMENDED = "hf:Qwen/Qwen2.5-1.5B-Instruct-GGUF:Q8_0"
_PATIENCE = 0.5
"""Seconds that a server on this machine is given to list its models."""


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    """What to set `FEWSHOT_MODEL` to."""
    place: str
    size: str
    licence: str
    languages: str
    measured: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """List what the command is named after."""
    return _list_models(args) if args.command == "models" else _list_tasks(args)


def origin(name: str) -> str:
    """Tell where a task of one's own comes from, and whether it hides one that ships; nothing for those that ship."""
    folder, hidden = find(name), hides(name)
    if ships(folder):
        return ""
    return f"  ({folder}{', hides the task that ships' if hidden else ''})"


def _list_tasks(args: argparse.Namespace) -> int:
    """List the tasks; a broken one is listed with its fault, and makes the exit code 1."""
    broken = 0
    for name in names():
        try:
            task = load(name)
        except TaskError as error:
            broken += 1
            tell_line(error, who=name)
            continue
        folder, hidden = find(name), hides(name)
        about = {
            "name": name, "description": task.description, "version": task.version, "path": str(folder),
            "ships": ships(folder), "hides": None if hidden is None else str(hidden), "inputs": list(task.inputs),
            "parameters": dict(task.parameters),
        }  # fmt: skip
        put_found(about, f"{name:<18}{task.description}{origin(name)}", as_json=args.json)
    return 1 if broken else 0


def _list_models(args: argparse.Namespace) -> int:
    """List the models; servers on this machine are asked unless FEWSHOT_OFFLINE is set, and nobody else."""
    for model in _models():
        about = ", ".join(filter(None, (model.size, model.licence, model.languages, model.measured)))
        told = f"{model.name}\n  {model.place}" + (f"; {about}" if about else "")
        put_found(asdict(model), told, as_json=args.json)
    return 0


def _models() -> Iterator[_Model]:
    kept = any(cache_dir("models").glob(f"{EMBEDDED_MODEL}*.gguf"))
    place = f"the embedded {EMBEDDED_MODEL}, {'on this machine' if kept else 'fetched at first use'}"
    figures = "88% of SST-2, 81% of AG News, 88% of TREC when calibrated; knows little of the world"
    yield _Model("local", place, "93 MB", "Apache-2.0", "English", figures)
    fetched = known()
    for file in fetched:
        place = f"on this machine: {file.file} of commit {file.commit[:12]}"
        yield _Model(f"hf:{file.name}", place, f"{file.size / 1e6:,.0f} MB", file.licence, "", "not measured by us")
    if all(f"hf:{file.name}" != _RECOMMENDED for file in fetched):
        place = "recommended where 4 GB of memory are free and there is no key; fetched at first use"
        languages = "29 languages"
        yield _Model(_RECOMMENDED, place, "1.9 GB", "Apache-2.0", languages, "not measured by us")
    if not offline():
        for prefix, url in SERVERS.items():
            yield from (_Model(f"{prefix}{name}", f"served at {url}", "", "", "", "") for name in _served(url))


def _served(url: str) -> list[str]:
    """Give the names that a server lists; none where nothing listens."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/models", timeout=_PATIENCE) as reply:
            return sorted(str(model["id"]) for model in json.load(reply)["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
