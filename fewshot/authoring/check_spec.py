"""What an author should look at in a `task.toml` that can be read: keys and settings that do nothing."""

from __future__ import annotations

from collections.abc import Iterator

from fewshot.folders.findings import Finding, warning
from fewshot.folders.spec import Spec

__all__ = ["PLACEHOLDER", "idle_keys", "idle_settings"]

PLACEHOLDER = "(replace me)"
"""Ends the texts that `fewshot new` writes to be replaced, so that they are not forgotten."""


def idle_keys(spec: Spec) -> Iterator[Finding]:
    """Give the keys that mean nothing beside this output, and a description that says nothing."""
    said, path = spec.said, spec.path
    if not said.get("description"):
        yield warning("no-description", path, 1, "has no description", 'add description = "What it does."')
    elif PLACEHOLDER in str(said["description"]):
        fix = "say here and in prompt.jinja what it does"
        yield warning("placeholder", path, spec.line("description"), "is still as `fewshot new` wrote it", fix)
    wanted, output = said.get("output"), spec.output
    labelled = isinstance(wanted, list) or (output is not None and output.labels is not None)
    for key in ("words", "descriptions"):
        if said.get(key) and not labelled:
            message = f"[{key}] does nothing: there are no labels"
            yield warning("idle-key", path, spec.line(key), message, "remove it")
    if "optional" in said and wanted != "text":
        message = "`optional` does nothing: only a text output can be missing"
        yield warning("idle-key", path, spec.line("optional"), message, "remove it")


def idle_settings(spec: Spec, shots: int) -> Iterator[Finding]:
    """Give the settings that do nothing; `shots` is how many examples can be shown at once."""
    settings, given = spec.settings, spec.given
    closed = spec.output is not None and spec.output.labels is not None
    probable = closed or getattr(spec.output, "optional", None) is not None
    idle = {
        "seed": (settings.select != "random" and settings.votes == 1 and settings.temperature == 0)
        and "nothing is drawn: select is not 'random', there is one vote and the temperature is 0",
        "embedding_model": settings.select != "embedding" and "select is not 'embedding'",
        "select": not shots and "there are no examples",
        "scoring": not probable and "only labels, and texts that may be missing, have probabilities",
        "decisions": not closed and "only labels have probabilities",
        "calibrate": not (closed and settings.scoring) and "only scored labels have probabilities to calibrate",
        "votes": closed
        and settings.scoring
        and settings.votes > 1
        and "labels are scored, not voted on, where the endpoint gives log-probabilities",
        "k": settings.k is not None and settings.k > shots and f"no question has more than {shots} examples to show",
    }
    for name, why in idle.items():
        if why and name in given:
            fix = "lower it or add examples" if name == "k" else _fixes.get(name, "remove it")
            yield warning("idle-setting", spec.path, spec.line(name), f"{name} does nothing: {why}", fix)
    if settings.min_confidence is not None and not probable:
        message = (
            "min_confidence holds all back where no log-probabilities come, else compares how likely the words are"
        )
        fix = "remove it, or give labels, whose probability is that of being right"
        yield warning("idle-setting", spec.path, spec.line("min_confidence"), message, fix)


_fixes = {"votes": "set scoring = false, or remove it"}
