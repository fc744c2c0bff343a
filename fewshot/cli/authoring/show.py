"""`fewshot show TASK`: the exact prompt, both forms, with the part that stays the same marked."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from fewshot import _background_loop as loop
from fewshot._checks import placeholders
from fewshot.cli.options import add_task_options, task_of
from fewshot.cli.terminal import shown, tell_line
from fewshot.errors import ConfigError
from fewshot.models.connection import connect_unstarted
from fewshot.task import Task

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_options(parser)
    parser.add_argument("input", nargs="*", metavar="INPUT", help="the input to show; by default a placeholder")
    parser.add_argument("--json", action="store_true", help="both forms as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what would be sent; nothing is."""
    task = task_of(args)
    given = dict(zip(task.inputs, args.input, strict=False))
    task, inputs = task._bind({**placeholders(task.inputs), **given})
    for member in task.members:
        if not args.json:
            print(f"══ {member.name} ══")
        _show(member, inputs, args)
    return 0 if task.members else _show(task, inputs, args)


def _show(task: Any, inputs: Mapping[str, Any], args: argparse.Namespace) -> int:
    prompt = task._prompts.offline(inputs)
    turns = [*prompt.prefix.messages, prompt.turn(inputs)]
    if args.json:
        chat = [{"role": turn.role, "content": turn.content} for turn in turns]
        name = {"output": task.name} if "output_name" in task.parameters else {}
        print(json.dumps({**name, "chat": chat, "text": prompt.text(inputs)}, ensure_ascii=False))
        return 0
    tell_line(task._prompts.plan(inputs))
    if told := loop.run(_fit(task, inputs)):
        tell_line(f"fit in use: {told}")
    if args.form != "text":
        print(f"── chat ── {len(prompt.examples)} shot{'s' * (len(prompt.examples) != 1)}, {len(turns)} messages")
        for turn in prompt.prefix.messages:
            print(f"[{turn.role}] {shown(turn.content)}")
        print("── the same for every call up to here; a provider's prompt cache keeps it ──")
        print(f"[user] {shown(turns[-1].content)}")
    if args.form != "chat":
        print("── text ──" if args.form == "text" else "\n── text ──")
        print(shown(prompt.text_prefix), end="")
        print("── the same for every call up to here ──")
        print(shown(prompt.text(inputs)[len(prompt.text_prefix) :]))
    return 0


async def _fit(task: Task[Any], inputs: Mapping[str, Any]) -> str:
    """Say which fit a call would use, as far as that is known without a model."""
    try:
        connection = await connect_unstarted(task.settings)
    except ConfigError as error:
        return f"not known, since nobody could be asked ({error})"
    if connection is None:
        return "known by the model file's content when it is loaded; a result tells it"
    key, promise = task._calibration_key(connection, inputs), task.promise
    off = promise and promise.missing(
        key, task._fitted_for(connection), asked=task.settings.asked_as, text="", calibration=promise.calibration,
        scored=True,
    )  # fmt: skip
    return off[0] if off else task._fit_told(key)
