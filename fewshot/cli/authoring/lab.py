"""`fewshot lab [TASK]`: a local page to edit a task beside its live prompt, try it, and compare versions."""

from __future__ import annotations

import argparse
import sys
import webbrowser

from fewshot.authoring.lab.desk import Desk
from fewshot.authoring.lab.server import LabServer
from fewshot.authoring.lab.workbench import Workbench
from fewshot.cli.options import add_settings, given
from fewshot.errors import ConfigError

__all__ = ["add_arguments", "run", "serve"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", nargs="?", metavar="TASK", help="the task to open: a name, or a path to its folder")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="by default any that is free")
    add_settings(parser, ("model", "base_url"))
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def run(args: argparse.Namespace) -> int:
    """Serve the editor until it is interrupted."""
    return serve(Workbench(args.task, **given(args, ("model", "base_url"))), args.port, browser=not args.no_browser)


def serve(workbench: Workbench, port: int, *, browser: bool, desk: Desk | None = None) -> int:
    """Serve the pages until they are interrupted; the address goes to standard output."""
    try:
        server = LabServer(workbench, port, desk)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"port {port} cannot be had ({error}): choose another with --port") from error
    try:
        print(server.url, flush=True)
        print("fewshot: open this address in a browser on this machine; Ctrl-C ends it", file=sys.stderr)
        if browser and sys.stdout.isatty():
            webbrowser.open(server.url)
        server.serve_forever()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        server.server_close()
        workbench.close()
    return 0
