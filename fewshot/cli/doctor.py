"""`fewshot doctor`: what is configured, what would be called, what is missing, and what the server says. No secrets."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from fewshot import _background_loop as loop
from fewshot._checks import REQUIRED, did_you_mean
from fewshot._environment import EXTRAS, SECRET, VARIABLES, lacks, missing
from fewshot._storage import cache_dir
from fewshot.cli.listing import origin
from fewshot.cli.options import add_settings, configured
from fewshot.cli.terminal import put_found
from fewshot.errors import ConfigError, FewshotError, ServiceError
from fewshot.folders.loader import find, names, search_path, ships
from fewshot.inference.fits import all_kept
from fewshot.models.connection import connect
from fewshot.models.endpoint import Endpoint, resolve
from fewshot.models.openai_client import client_for
from fewshot.settings import Settings
from fewshot.task import load
from fewshot.types import Message, Request

__all__ = ["add_arguments", "run"]

_SHOWN = 5
"""Fits that are told one by one."""
_PATIENCE = 20.0
"""Seconds that the request of `--ping` may take."""
_MOST_NAMED = 10
_MEANT = {
    "OPENAI_API_KEY": {"KEY", "TOKEN"},
    "OPENAI_BASE_URL": {"URL", "BASE", "HOST", "ENDPOINT"},
    "FEWSHOT_MODEL": {"MODEL", "ENGINE", "DEPLOYMENT"},
    "OPENAI_ORG_ID": {"ORG", "ORGANIZATION", "ORGANISATION"},
    "OPENAI_PROJECT_ID": {"PROJECT"},
    "FEWSHOT_CACHE_DIR": {"CACHE"},
}
"""What is meant by a variable with one of these words in its name, where it is not near any."""
_READ_BY_OPENAI = ("OPENAI_LOG", "OPENAI_ADMIN_KEY", "OPENAI_API_VERSION")
_OURS = ("FEWSHOT_", "FEW_SHOT_", "OPENAI_", "OPEN_AI_")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, ("model", "base_url"))
    parser.add_argument("--ping", action="store_true", help="send the model one tiny request, too")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the configuration and what the server says to it; the exit code is 2 when a call would fail."""
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
        if not endpoint.local:
            problem = _look(endpoint, facts)
        elif not importlib.util.find_spec("xllamacpp"):
            problem = str(missing("the embedded model is not installed", "local", "set OPENAI_API_KEY"))
        if args.ping:
            facts["answers"] = _ping(Settings(model=args.model, base_url=args.base_url, timeout=_PATIENCE))
            problem = None  # a server need not list all that it has
    except (ConfigError, ServiceError) as error:
        problem = problem or str(error)
    facts["problem"] = problem or "none"
    told: dict[str, str] = {}
    for name, value in facts.items():  # variables that are not set, and extras that are installed, in a line each
        key = {"not set": "not set", "installed": "extras installed"}.get(str(value), name)
        one = str(value) if key == name else name.removeprefix("extra ")
        told[key] = f"{told[key]}, {one}" if key in told else one
    put_found(facts, "\n".join(f"{name:<22}{text}" for name, text in told.items()), as_json=args.json)
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


def _look(endpoint: Endpoint, facts: dict[str, object]) -> str | None:
    """Ask a server which models it has; tell what is wrong with the one that would be asked.

    Raises:
        ServiceError: it cannot be reached, or refuses the key.
    """
    try:
        there = loop.run(client_for(endpoint).models())
    except ServiceError as error:
        if error.account or error.status is None or error.transient:
            raise
        facts["models there"] = f"the server lists none (HTTP {error.status})"
        return None
    more = f" and {len(there) - _MOST_NAMED:,} more" * (len(there) > _MOST_NAMED)
    facts["models there"] = f"{', '.join(there[:_MOST_NAMED])}{more}"
    if endpoint.host.endswith("azure.com") or _is_among(endpoint.model, there):  # Azure's are called by deployments
        return None
    choose = f"set FEWSHOT_MODEL={there[0]}, the only one there" if len(there) == 1 else "set FEWSHOT_MODEL to one"
    return f"{endpoint.host} lists no model {endpoint.model!r}{did_you_mean(endpoint.model, there)}: {choose}"


def _is_among(model: str, there: Sequence[str]) -> bool:
    """Tell whether a model is listed, perhaps as `models/NAME` (Gemini) or `NAME:latest` (Ollama)."""
    listed = {name.removeprefix("models/").removesuffix(":latest") for name in there}
    return model.removeprefix("models/").removesuffix(":latest") in listed


def _ping(settings: Settings) -> str:
    """Ask the model for a word; tell what came of it."""
    connection = loop.run(connect(settings))
    turn, listed = Message("user", "Answer with the word yes."), connection.top_logprobs(None)
    request = Request(
        model=connection.model, messages=(turn,), max_tokens=16, top_logprobs=listed and 1, extra=connection.extra
    )
    if connection.form == "text":
        request = replace(request, messages=(), text=f"{turn.content}\n")
    began = time.monotonic()
    answer = loop.run(connection.client.complete(request, deadline=connection.deadline(settings.timeout)))
    found = [f"{' '.join(answer.text.split())!r:.60} in {time.monotonic() - began:.1f} s"]
    found.append("with log-probabilities" if answer.tokens else "without log-probabilities")
    return ", ".join(found + [f"does not take {name}" for name in answer.dropped])


def _misspelt(name: str) -> str:
    """Tell what is meant by a variable that is named like ours and is not read; nothing for any other."""
    if name in VARIABLES or name in _READ_BY_OPENAI:
        return ""
    asked = name.upper()
    near = difflib.get_close_matches(asked, VARIABLES, n=1, cutoff=0.85)
    if not near and asked.startswith(_OURS):
        near = [variable for variable, words in _MEANT.items() if words & set(asked.split("_"))]
    if near:
        return f"not read (did you mean {near[0]!r}?)"
    return "not read: no such variable is known" if asked.startswith("FEWSHOT_") else ""  # openai has some of its own


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
