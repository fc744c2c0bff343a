"""The command line: one module a command, and `main`, which chooses among them."""

from fewshot.cli.main import COMMANDS, main

__all__ = ["COMMANDS", "main"]
