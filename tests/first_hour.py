"""Does what README, README.ko, each page of the documentation and each script in `examples/` say, to the letter.

    python tests/first_hour.py dist/fewshot-0.1.0-py3-none-any.whl   # or an sdist, or a folder with a checkout
    python tests/first_hour.py --python env/bin/python --only shell    # in an environment that has it already

Everything is installed into a fresh environment with the extras that the pages name, unless one is given, and run in
an empty folder with the files that they speak of, on the embedded model. CI does the shell blocks only: the code blocks
are run by `test_readme.py` and `test_docs.py` too. Why a block is left out is said in `LEFT_OUT`. The exit code is 1
when anything fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted((ROOT / "docs").glob("*.md"))]
LEFT_OUT = {
    "python3 -m venv": "this script has just done that",
    ".venv/bin": "this script has just done that",
    "git ": "needs the repository",
    "python -m": "a command for developers",
    "python tests/": "a benchmark",
    "pip install": "this script has just done that",
    "sst2": "needs a data set",
    "inject.jsonl": "needs a data set",
    "sample.csv": "needs a corpus and a labelled sample of it; test_shares.py runs the command",
    "templates/triage/test.jsonl": "needs labels that a person gave on the page",
    "fewshot batch": "needs OpenAI's Batch API",
    "fewshot lab": "does not end by itself",
    "fewshot tune": "takes a thousand requests",
    "localhost": "needs a server",
    "results.jsonl before": "compares files that nobody has",
    "fewshot doctor": "tells of this machine; run once below",
}
MOODS = [("I love it.", "positive"), ("It broke.", "negative"), ("It is blue.", "neutral")]
EXTRAS = "local,bulk,eval,sklearn"
LIMIT = 900


def main() -> int:
    """Install and run; prints a line for each block."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("source", type=Path, nargs="?", help="a wheel, an sdist or a checkout")
    parser.add_argument("--python", type=Path, help="an environment's Python that has fewshot, instead of a fresh one")
    parser.add_argument("--only", choices=["python", "shell"], help="leave the blocks of the other kind out")
    args = parser.parse_args()
    if (args.source is None) == (args.python is None):
        parser.error("give a wheel, an sdist or a checkout, or --python")
    with tempfile.TemporaryDirectory() as made:
        work = Path(made)
        python = args.python.absolute() if args.python else installed(args.source, work)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "FEWSHOT_"))
        }
        environment |= {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "FEWSHOT_MODEL": "local"}
        environment |= {"FEWSHOT_CACHE_DIR": os.environ.get("FEWSHOT_CACHE_DIR", str(work / "cache"))}
        failed, done = 0, dict[tuple[str, ...], str]()
        for page in PAGES:
            folder = work / "-".join(page.relative_to(ROOT).parts)
            furnish(folder)
            # A page begins as a new user does: a fit on the rows of another page is found again, as it should be.
            shutil.rmtree(Path(environment["FEWSHOT_CACHE_DIR"]) / "calibrations", ignore_errors=True)
            text = page.read_text(encoding="utf-8")
            program = "" if args.only == "shell" else "\n".join(blocks(text, "python"))
            if program:
                furnish(folder / "python")  # what it writes is not in the way of the commands
                done_by = run([str(python), "-c", program], folder / "python", environment)
                failed += not told(f"{page.name}: python", done_by)
            lines = () if args.only == "python" else tuple(commands(text))
            if lines and lines in done:
                print(f"the same  {page.name}: its commands are those of {done[lines]}")
                continue
            done[lines] = page.name
            for line in lines:
                if why := next((why for part, why in LEFT_OUT.items() if part in line), ""):
                    print(f"left out  {page.name}: {line[:70]} ({why})")
                else:
                    failed += not told(f"{page.name}: {line[:90]}", run(["bash", "-c", line], folder, environment))
        if args.only != "shell":
            folder = work / "pipe"
            furnish(folder)
            command = [str(python), str(ROOT / "examples" / "pandas_job.py"), "rows.csv", "out.csv", "--column", "text"]
            failed += not told("pandas_job.py", run(command, folder, environment))
    return 1 if failed else 0


def installed(source: Path, work: Path) -> Path:
    """Install into a fresh environment; gives its Python."""
    venv.create(work / "env", with_pip=True)
    python = work / "env" / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "-q", f"{source.resolve()}[{EXTRAS}]", "pandas"]
    done = run(command, work, dict(os.environ))
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return python


def furnish(folder: Path) -> None:
    """Write the files that the pages speak of."""
    folder.mkdir()
    rows = [f'{{"text": "{text[:-1]} {i}.", "label": "{mood}"}}\n' for i in range(12) for text, mood in MOODS]
    for name in ("labelled.jsonl", "test.jsonl", "train.jsonl", "reviews.jsonl", "rows.jsonl", "pool.jsonl"):
        own = [row.replace('.", "label"', f' ({name}).", "label"') for row in rows]  # a pool holds other rows
        (folder / name).write_text("".join(own), encoding="utf-8")
    (folder / "reviews.csv").write_text("review\n" + "\n".join(text for text, _ in MOODS) + "\n", encoding="utf-8")
    (folder / "rows.csv").write_text("text\n" + "\n".join(text for text, _ in MOODS) + "\n", encoding="utf-8")
    tickets = "".join(f"It crashes {i}.,bug\nHow do I export {i}?,question\n" for i in range(20))
    (folder / "tickets.csv").write_text("message,kind\n" + tickets, encoding="utf-8")
    makers = [("Python", "Guido van Rossum"), ("Java", "James Gosling"), ("Perl", "Larry Wall")]
    pairs = "".join(f'{{"query": "{language}", "output": "{maker}"}}\n' for language, maker in makers)
    (folder / "pairs.jsonl").write_text(pairs, encoding="utf-8")
    schema = '{"type": "object", "properties": {"product": {"type": "string"}, "count": {"type": "integer"}}}'
    (folder / "order.json").write_text(schema, encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Give the code blocks in a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def commands(text: str) -> list[str]:
    """Give the commands of the shell blocks, continued lines joined."""
    joined = "\n".join(blocks(text, "sh")).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith(("#", "export "))]


def run(command: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; its input is at its end."""
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL
    )


def told(name: str, done: subprocess.CompletedProcess[str]) -> bool:
    """Print what came of it; a command that fails, or any traceback, is a failure."""
    good = done.returncode == 0 and "Traceback" not in done.stderr
    print(f"{'ok      ' if good else 'FAILED  '}  {name}", flush=True)
    if not good:
        print(f"  exit {done.returncode}\n{done.stdout[-500:]}{done.stderr[-1500:]}", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
