"""`fewshot lab [TASK]`: a local page to edit a task beside its live prompt, try it, and compare versions."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from typing import Any

from fewshot.authoring.lab.server import LabServer
from fewshot.authoring.lab.workbench import Workbench
from fewshot.errors import ConfigError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("task", nargs="?", metavar="TASK", help="the task to open: a name, or a path to its folder")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="by default any that is free")
    parser.add_argument("--model", help="model name; 'local' or a GGUF file for the embedded model")
    parser.add_argument("--base-url", metavar="URL", help="an OpenAI-compatible server")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def run(args: argparse.Namespace) -> int:
    """Serve the page until it is interrupted; its address goes to standard output."""
    asked: dict[str, Any] = {"model": args.model, "base_url": args.base_url}
    workbench = Workbench(args.task, **{name: value for name, value in asked.items() if value is not None})
    try:
        server = LabServer(workbench, args.port)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"port {args.port} cannot be had: {error}; choose another with --port") from error
    try:
        print(server.url, flush=True)
        print("fewshot: open this address in a browser on this machine; Ctrl-C ends it", file=sys.stderr)
        if not args.no_browser and sys.stdout.isatty():
            webbrowser.open(server.url)
        server.serve_forever()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        server.server_close()
        workbench.close()
    return 0
