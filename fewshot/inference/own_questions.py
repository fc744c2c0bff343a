"""The questions that a task's own examples make, from which it is calibrated at first use."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any

from fewshot._checks import REQUIRED
from fewshot.calibration.calibration import Calibration
from fewshot.calibration.promise import OFF
from fewshot.inference.first_use import own_calibration
from fewshot.inference.fits import failed, kept
from fewshot.inference.question import Question
from fewshot.inference.shots import ENOUGH, FEWEST, FOR_SETS, MOST
from fewshot.models.connection import Connection
from fewshot.models.tokens import estimated_tokens
from fewshot.narrowing.prompt import NarrowedPrompt, unfitted
from fewshot.prompts.prompt import Prompt

__all__ = ["TOO_FEW_FOR_SETS", "calibration_for", "free_questions", "own_questions"]

_CONTENT_FREE = ("N/A", "[MASK]", "...")
"""Inputs without content: what the prompt says to these is its bias (arXiv 2102.09690, section 4)."""
TOO_FEW_FOR_SETS = f"not calibrated: sets of labels take {FOR_SETS} examples beside the shots"

_MAX_TOKENS = 60_000
"""Tokens that the examples may take that a task is calibrated on at first use."""
_PARTS = 8
"""Shots are left out in so many parts at most: each part makes another prompt."""

_log = logging.getLogger("fewshot")


async def calibration_for(
    task: Any, key: str, inputs: Mapping[str, Any], prompt: Prompt, connection: Connection
) -> Calibration | None:
    """Find a task's calibration for a prompt on a model, or fit one from its own examples at first use."""
    found = await _fitted_for(task, key, inputs, prompt, connection)
    return unfitted(prompt, task.settings) if found is None and isinstance(prompt, NarrowedPrompt) else found


async def _fitted_for(
    task: Any, key: str, inputs: Mapping[str, Any], prompt: Prompt, connection: Connection
) -> Calibration | None:
    if not (task.output.classes or task.output.closed_fields) or not task.settings.scoring:
        return None
    fits = task.settings.fits_at_first_use(local=connection.local)
    if key in task.calibrations or task.settings.calibrate is False:  # a fit made on purpose holds all the same
        given = task.calibrations.get(key)
        return given if await _in_force(given) else None
    found = kept(key)
    if found and await _in_force(found.calibration):
        return found.calibration
    if not fits:
        failed.update({key: f"{OFF[1]}{found.calibration.other_encoder}"} if found else {})
        return None
    unasked = not task.settings.candidate_rows and isinstance(prompt, NarrowedPrompt)
    if key in failed or task.output.labels is None or unasked:  # few examples cannot tell when nothing answers
        return None
    task._question(inputs, prompt, connection).request()  # what cannot be asked is refused before a fit, not after
    labelled, simple = await own_questions(task, inputs, prompt, connection)
    if task.output.several and not labelled:
        failed.update({key: TOO_FEW_FOR_SETS} if task.settings.calibrate else {})
        return None
    _log.info("%s: %s", task.name, task._prompts.plan(inputs))
    about, free = {"task": task.name, "model": connection.model}, free_questions(task, inputs, prompt, connection)
    return await own_calibration(key, labelled, free, connection, simple=simple, about=about)


async def _in_force(calibration: Calibration | None) -> bool:
    """Tell whether what a fit reads of a text is there: the vectors of one sentence encoder, and of no other."""
    if calibration is None or not calibration.encoder:
        return True
    from fewshot.models.local.encoder import encoder

    return calibration.encoder == await asyncio.to_thread(encoder)


async def own_questions(
    task: Any, inputs: Mapping[str, Any], prompt: Prompt, connection: Connection
) -> tuple[list[tuple[Question, str]], bool]:
    """Ask the examples that are not shots; where these are few, each shot in a prompt with and without it.

    Without it the prompt speaks against its label, with it for it, so that only both together tell of the prompt's
    own bias. How many are asked is settled here, by their tokens: nothing depends on how fast the machine is.

    Returns:
        Questions with their labels, and whether they are shots, so that only simple remedies may be fitted. None of
        sets of labels where too few are not shots.
    """
    shelf, by_question = task._prompts.shelf(inputs), task._prompts.by_question(inputs)
    spare = [example for example in shelf.examples if by_question or example not in prompt.examples]
    shots = prompt.examples
    if task._prompts.output.several and len(spare) < FOR_SETS:
        return [], True
    most = task._prompts.settings.candidate_rows if isinstance(prompt, NarrowedPrompt) else MOST
    if by_question or len(spare) >= ENOUGH or len(shots) < FEWEST:
        prefix = estimated_tokens(prompt.text_prefix) if by_question else 0
        taken, left = [], _MAX_TOKENS
        for place in random.Random(0).sample(range(len(spare)), min(len(spare), most)):  # noqa: S311
            left -= prefix + estimated_tokens(" ".join(map(str, spare[place].inputs.values())))
            if left < 0:
                break
            taken.append(place)
        rows = [spare[place] for place in sorted(taken)]
        return [(await task._question_for(row.inputs, connection), row.output) for row in rows], False
    parts = min(len(shots), _PARTS)
    without = [task._prompts.of([s for n, s in enumerate(shots) if n % parts != part]) for part in range(parts)]
    left_out = [
        (task._question(shots[place].inputs, without[part], connection), shots[place].output)
        for part in range(parts)  # a prompt's beginning is read once
        for place in range(part, len(shots), parts)
    ]
    shown = [(task._question(e.inputs, prompt, connection), e.output) for e in (*shots, *spare)]
    return [*left_out, *shown], True


def free_questions(task: Any, inputs: Mapping[str, Any], prompt: Prompt, connection: Connection) -> list[Question]:
    """Ask the prompt of inputs without content; a set of labels learns nothing from these."""
    required = [name for name, default in task.inputs.items() if default is REQUIRED]
    free = ({**inputs, **dict.fromkeys(required, text)} for text in _CONTENT_FREE if not prompt.output.several)
    return [task._question(each, prompt, connection) for each in free]
