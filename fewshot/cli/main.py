"""The command `fewshot`: data goes to standard output, everything meant for a person to standard error.

Exit codes: 0 done, 1 some rows failed, 2 wrong use or configuration, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from keyword import iskeyword
from typing import Any, NoReturn

from fewshot._options import synonym, table
from fewshot.cli.terminal import painted, shown, tell_line
from fewshot.errors import ConfigError, FewshotError, InputError, TaskError
from fewshot.settings import Settings

__all__ = ["COMMANDS", "GROUPS", "main", "parser_of"]

GROUPS = {
    "Ask a model": {
        "run": "run a task on inputs, a file or standard input",
        "try": "type inputs and see answers, while the task's files are edited",
        "batch": "run a task on a file by OpenAI's Batch API, at half the price",
    },
    "Write a task": {
        "new": "make a task folder that works at once",
        "check": "find every fault in task folders, with file, line and fix",
        "show": "show the exact prompt of a task, in both forms",
        "lab": "edit and try a task on a local page in the browser",
        "label": "label texts on a local page, and see what the labels buy",
    },
    "Measure and improve it": {
        "eval": "measure a task on labelled rows",
        "calibrate": "fit a task's probabilities on labelled rows, and keep the fit",
        "tune": "search for a better prompt, measured on rows kept back",
        "share": "estimate how frequent each label is, from a labelled sample",
        "diff": "compare two files of results row by row",
    },
    "Look around": {
        "tasks": "list the tasks that can be found, and where each comes from",
        "models": "list the local models, and tell how to name each",
        "doctor": "tell what is configured, what would be called and what is missing",
        "log": "show what was asked last and answered, where answers are kept",
        "cache": "tell what is kept of earlier answers, or delete it",
        "completion": "print what makes a shell complete commands, options and tasks",
    },
}
"""Each command has `add_arguments(parser)` and `run(args) -> exit code`, mostly in a module of its name."""

_LONG = ("eval", "calibrate", "tune", "share")
_GO_ON = "; with `-o cache=true` answers are kept as they come, so that the same command goes on from them"

COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Arguments:
        argv: the words after `fewshot`; by default those of this process.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller (`>&-`): nobody writes or reads
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - to the end
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Shown())
    asked = next((word for word in words if not word.startswith("-")), None)
    parser, commands = _parsers([asked] if asked in COMMANDS else [])
    args, later = parser.parse_known_args(words)
    if later and (not hasattr(args, "input") or any(word.startswith("-") for word in later)):
        commands.get(args.command, parser).refuse(later)
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
        print(f"fewshot: interrupted{_GO_ON if args.command in _LONG else ''}", file=sys.stderr)
        return 130
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        if not isinstance(error, BrokenPipeError):  # what no argument should lead to, told without a traceback
            tell_line(f"{type(error).__name__}: {error}: check the arguments and files of this command", style="red")
            return 2
        # The reader (`head`, say) has enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser_of(*commands: str) -> argparse.ArgumentParser:
    """Make the parser, with the options of these commands; by default of all."""
    return _parsers(commands or tuple(COMMANDS))[0]


class _Parser(argparse.ArgumentParser):
    """Takes options by their whole names only, and tells a mistake in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; the words are kept for what is told of a mistake."""
        self._words: Sequence[str] = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        """Say in the first line what must be given; each option is named once, below."""
        self.usage = " ".join([self.prog, *filter(None, map(_as_typed, self._actions)), "[options]"])
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong and where to look, and stop with 2."""
        unknown = [word for word in self._words if word.startswith("--") and not self._knows(word)]
        if message.startswith("the following arguments are required") and unknown:
            self.refuse(unknown)
        if message.startswith("argument COMMAND: invalid choice: "):
            wrong = message.split("'")[1]
            message = f"there is no command {wrong!r}{_meant(wrong)}"
            if self._words[0].startswith("-"):
                message = f"options stand after the command, as `fewshot run TASK {self._words[0]} …`"
        tell_line(f"{message}; see `{self.prog} --help`", style="red", who=self.prog)
        self.exit(2)

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Refuse words that mean nothing here; the first option among them is named, with one that is like it."""
        wrong = next((word for word in words if word.startswith("-")), words[0]).partition("=")[0]
        kind = "option" if wrong.startswith("-") else "argument"
        flag = "--" + synonym(wrong.lstrip("-"), table(Settings)).replace("_", "-")
        known = flag in self._option_string_actions and wrong.startswith("--")
        near = f" (did you mean {flag!r}?)" if known else _near(wrong, self._option_string_actions)
        if not near and "--set" in self._option_string_actions and wrong.startswith("--"):
            near = f"; a parameter of the task is --set {wrong[2:]}=…, a setting -o {wrong[2:]}=…"
        self.error(f"unknown {kind} {wrong!r}{near}")

    def _knows(self, word: str) -> bool:
        return word == "--" or word.partition("=")[0] in self._option_string_actions


class _Root(_Parser):
    def format_help(self) -> str:
        """List the commands by what they are for."""
        lines = ["usage: fewshot COMMAND …", "", "Turn a handful of examples into a typed function."]
        for group, commands in GROUPS.items():
            lines += ["", painted(f"{group}:", "bold", sys.stdout)]
            lines += [f"  {name:<12}{about}" for name, about in commands.items()]
        return "\n".join([*lines, "", "fewshot COMMAND --help tells the options of each; --version, the version.", ""])


def _meant(wrong: str) -> str:
    """Give what is meant by a word that is not a command: an option, a task, or a command that is like it."""
    from fewshot.folders.loader import names

    if wrong in ("help", "version"):
        return f" (did you mean '--{wrong}'?)"
    return f" (did you mean 'run {wrong}'?)" if wrong in names() else _near(wrong, COMMANDS, 0.6)


def _near(wrong: str, names: Any, cutoff: float = 0.7) -> str:
    found = [name for name in names if name.startswith(wrong)] or get_close_matches(
        wrong, list(names), n=1, cutoff=cutoff
    )
    return f" (did you mean {found[0]!r}?)" if found else ""


def _parsers(wanted: Sequence[str]) -> tuple[_Parser, dict[str, _Parser]]:
    """Make the parsers; only the commands that are wanted are imported."""
    parser = _Root(prog="fewshot")
    parser.add_argument("--version", action=_Version, help="show the version and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    made = {}
    for name, about in COMMANDS.items():
        sentence = about[0].upper() + about[1:] + "."
        made[name] = commands.add_parser(name, prog=f"fewshot {name}", help=about, description=sentence)
        if name in wanted:
            _module(name).add_arguments(made[name])
    return parser, made


def _as_typed(action: argparse.Action) -> str:
    """Give how an argument stands in a command; nothing for an option that may be left out, which is told below."""
    word = action.metavar if isinstance(action.metavar, str) else "|".join(action.choices or [action.dest])
    if action.option_strings:
        return f"{action.option_strings[0]} {word}" if action.required else ""
    return {"*": f"[{word} …]", "+": f"{word} …", "?": f"[{word}]"}.get(str(action.nargs), word)


def _module(command: str) -> Any:
    if command == "completion":
        return _Completion
    return import_module(f"fewshot.cli.{_PLACES.get(command, command)}{'_' * iskeyword(command)}")


_PLACES = {"tasks": "listing", "models": "listing"} | {
    name: f"authoring.{name}" for name in ("try", *GROUPS["Write a task"])
}
"""Commands whose module has another name."""


class _Completion:
    """`fewshot completion SHELL`: what a shell needs to complete commands and options, written by shtab."""

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell that is to complete")
        parser.epilog = """bash: eval "$(fewshot completion bash)"   zsh: fewshot completion zsh > ~/.zfunc/_fewshot"""

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        """Print the script; nothing is changed on this machine."""
        import shtab

        print(shtab.complete(parser_of(), shell=args.shell))
        return 0


class _Shown(logging.Formatter):
    """Writes what is logged as a terminal may show it."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from fewshot import __version__

        print(f"fewshot {__version__}")
        parser.exit()


def _say(error: FewshotError, code: int) -> int:
    tell_line(error, style="red")
    return code


if __name__ == "__main__":
    sys.exit(main())
