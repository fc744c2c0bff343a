r"""A command-line pipe: lines in; label, confidence and line out, in order and as they come.

pip install 'fewshot[local]'
printf 'I love it.\nIt broke.\n' | python pipe.py sentiment

`fewshot run TASK` does this too; the script is a start for pipes of your own. Memory stays flat however long the input
is. A line that failed has a dash for a label, and its reason goes to standard error; the exit code is then 1.
"""

from __future__ import annotations

import sys

from fewshot import load


def main() -> int:
    task = load(sys.argv[1] if len(sys.argv) > 1 else "sentiment")
    read: list[str] = []  # lines that have been asked and not answered yet

    def lines():
        for line in sys.stdin:
            read.append(line.rstrip("\n"))
            yield read[-1]

    failed = 0
    for result in task.map(lines()):
        line = read.pop(0)
        confidence = "" if result.confidence is None else f"{result.confidence:.2f}"
        if result.error is not None:
            failed += 1
            print(result.error, file=sys.stderr)
        print("-" if result.error else result.value, confidence, line, sep="\t", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
