"""The command `fewshot`: data goes to standard output, everything meant for a person to standard error.

Exit codes: 0 done, 1 some rows failed, 2 wrong use or configuration, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Any

from fewshot.errors import ConfigError, FewshotError, InputError, TaskError

__all__ = ["main"]

COMMANDS = {
    "new": "make a task folder that works at once",
    "run": "run a task on inputs, a file or standard input",
    "tasks": "list the tasks that can be found",
    "check": "find everything that is wrong with task folders, with file, line and fix",
    "show": "show the exact prompt of a task, in both forms",
    "try": "type inputs and see answers, while the task's files are edited",
    "lab": "edit and try a task on a local page in the browser",
    "eval": "measure a task on labelled rows",
    "calibrate": "fit a task's probabilities on labelled rows, and keep the fit",
    "tune": "search for a better prompt on labelled rows, and measure it on rows kept back",
    "diff": "compare two files of results row by row",
    "batch": "run a task over a file through OpenAI's Batch API, at half the price",
    "cache": "tell what is kept of earlier answers, or delete it",
    "doctor": "tell what is configured, what would be called and what is missing",
}
"""Each command is a module of `fewshot.cli` with `add_arguments(parser)` and `run(args) -> exit code`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Arguments:
        argv: the words after `fewshot`; by default those of this process.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(words)
    args, later = parser.parse_known_args(words)
    if later and (not hasattr(args, "input") or any(word.startswith("-") for word in later)):
        parser.error(f"unrecognized arguments: {' '.join(later)}")
    if later:  # argparse takes inputs that follow an option for strangers
        args.input += later
    args.words = words
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        return int(_module(args.command).run(args))
    except (InputError, TaskError, ConfigError) as error:
        return _say(error, 2)
    except FewshotError as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        print("fewshot: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`head`, say) has enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Make the parser; only the command that is asked for is imported."""
    parser = argparse.ArgumentParser(
        prog="fewshot", description="Turn a handful of examples into a typed function.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, help="show the version and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    asked = next((word for word in words if not word.startswith("-")), None)
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        if name == asked:
            _module(name).add_arguments(command)
    return parser


def _module(command: str) -> Any:
    return import_module(f"fewshot.cli.{command}{'_' * iskeyword(command)}")


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from fewshot import __version__

        print(f"fewshot {__version__}")
        parser.exit()


def _say(error: FewshotError, code: int) -> int:
    print(f"fewshot: {' '.join(str(error).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
