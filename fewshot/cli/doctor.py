"""`fewshot doctor`: what is configured, what would be called, what is missing. No secrets, and nothing is sent."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version

from fewshot._checks import REQUIRED
from fewshot._environment import EXTRAS, SECRET, VARIABLES, lacks, missing
from fewshot._storage import cache_dir
from fewshot.cli.listing import origin
from fewshot.cli.options import add_settings, configured
from fewshot.errors import ConfigError, FewshotError
from fewshot.folders.loader import find, names, search_path, ships
from fewshot.inference.fits import all_kept
from fewshot.models.endpoint import resolve
from fewshot.task import load

__all__ = ["add_arguments", "run"]

_SHOWN = 5
"""Fits that are told one by one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_settings(parser, ("model", "base_url"))
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the configuration; the exit code is 2 when a call would fail for it."""
    facts: dict[str, object] = {
        "fewshot": _version("fewshot"),
        "python": platform.python_version(),
        "openai": _version("openai"),
    }
    for name in VARIABLES:
        given = os.environ.get(name)
        facts[name] = "not set" if not given else "set" if name in SECRET else given
    facts |= {name: near for name in os.environ if (near := _misspelt(name))}
    facts |= {f"extra {name}": _installed(name) for name in EXTRAS}
    facts["task folders"] = ", ".join(str(place) for place in search_path() if place.is_dir())
    facts["tasks"] = ", ".join(f"{name}{origin(name)}" for name in names())
    facts |= {f"task {name}": _plan(name) for name in names() if not ships(find(name))}
    facts["fits kept"] = _kept()
    facts["configuration"] = str(configured().path or "none")
    problem = None
    try:
        endpoint = resolve(model=args.model, base_url=args.base_url)
        facts["would call"] = _target(endpoint.model, endpoint.base_url, local=endpoint.local)
        facts["because of"] = endpoint.source
        if endpoint.local and not importlib.util.find_spec("xllamacpp"):
            problem = str(missing("the embedded model is not installed", "local", "set OPENAI_API_KEY"))
    except ConfigError as error:
        problem = str(error)
    facts["problem"] = problem or "none"
    if args.json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        for name, value in facts.items():
            print(f"{name:<22}{value}")
    return 2 if problem else 0


def _plan(name: str) -> str:
    """Tell what a task's examples are used for, and the fit that stands in its folder."""
    try:
        task = load(name)
        inputs = {each: "" for each, default in task.inputs.items() if default is REQUIRED}
        return task._prompts.plan(inputs) + (f"; fitted on {task.promise.told}" if task.promise is not None else "")
    except FewshotError as error:
        return f"cannot be loaded: {error}"


def _kept() -> str:
    """Tell of the fits in the cache folder, which calls of the same prompt on the same model use."""
    try:
        folder, found = cache_dir("calibrations"), list(all_kept())
    except ConfigError as error:
        return str(error)
    about = [
        f"{fit.about.get('task') or 'a task'} on {fit.about.get('model') or 'a model'}: {fit.told}" for fit in found
    ]
    more = f"; and {len(about) - _SHOWN} more" if len(about) > _SHOWN else ""
    return f"{len(found)} in {folder}" + "".join(f"; {one}" for one in about[:_SHOWN]) + more


def _misspelt(name: str) -> str:
    """Tell what is meant by a variable that is named like ours and is not read; nothing for any other."""
    if name in VARIABLES or not name.startswith(("FEWSHOT_", "OPENAI_")):
        return ""
    near = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.85)
    if near:
        return f"not read (did you mean {near[0]!r}?)"
    return "not read: no such variable is known" if name.startswith("FEWSHOT_") else ""  # openai reads some of its own


def _target(model: str, base_url: str | None, *, local: bool) -> str:
    if local:
        return "the embedded model, inside this process; nothing leaves the machine"
    return f"{model} at {base_url or 'the OpenAI service'}"


def _installed(extra: str) -> str:
    modules = lacks(extra)
    return str(missing(f"missing {', '.join(modules)}", extra)) if modules else "installed"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
