"""`fewshot completion SHELL`: what a shell needs to complete commands and options, written by shtab."""

from __future__ import annotations

import argparse

from fewshot.cli.main import parser_of

__all__ = ["add_arguments", "run"]

_WHERE = """bash: eval "$(fewshot completion bash)"   zsh: fewshot completion zsh > ~/.zfunc/_fewshot"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell that is to complete")
    parser.epilog = _WHERE


def run(args: argparse.Namespace) -> int:
    """Print the script; nothing is changed on this machine."""
    import shtab

    print(shtab.complete(parser_of(), shell=args.shell))
    return 0
