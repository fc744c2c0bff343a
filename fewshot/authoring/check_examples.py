"""What can be wrong with the examples of a task: each row for itself, and all of them together."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot._checks import REQUIRED, checked_input
from fewshot._wording import fold
from fewshot.authoring.check_spec import PLACEHOLDER
from fewshot.data.examples import each_row, made_example, row_faults
from fewshot.errors import InputError, OutputError, TaskError
from fewshot.folders.findings import Finding, error, of_error, warning
from fewshot.folders.spec import Spec
from fewshot.outputs.kinds import Output
from fewshot.types import Example

__all__ = ["balance", "examples_in", "leaks", "readable", "repetitions"]

_UNEVEN = 3
"""How many times as many examples a label may have as another."""
_ALIKE = 0.85
"""Share of words that two texts have in common (Jaccard) from which one teaches no more than both."""
_FEWEST_WORDS = 5

Row = tuple[int, Mapping[str, Any]]


def examples_in(path: Path, spec: Spec) -> tuple[list[Example], list[Finding]]:
    """Read an example file; give the rows that are valid, and all that is wrong with the others."""
    valid: list[Example] = []
    found: list[Finding] = []
    try:
        for line, row in each_row(path):
            if isinstance(row, TaskError):
                found.append(of_error("row", path, row))
                continue
            wrong = list(_faults(row, line, path, spec))
            found += wrong
            if spec.output is not None and not any(finding.severity == "error" for finding in wrong):
                valid.append(made_example(row, line, spec.inputs, spec.parameters, spec.output, spec.target))
    except TaskError as problem:
        found.append(of_error("row", path, problem))
    found += _ids(valid, path)
    return valid, found


def _faults(row: Mapping[str, Any], line: int, path: Path, spec: Spec) -> Iterator[Finding]:
    for code, message, fix in row_faults(row, spec.inputs, spec.parameters, spec.output, spec.target):
        yield error(code, path, line, message, fix)
    for name, default in spec.inputs.items():
        if name in row:
            try:
                checked_input("the task", name, row[name], optional=default is not REQUIRED)
            except InputError as problem:
                yield error("invalid-input", path, line, str(problem), "put it right or take the example out")
    if PLACEHOLDER in json.dumps(list(row.values()), ensure_ascii=False, default=str):
        yield warning("placeholder", path, line, "is still as `fewshot new` wrote it", "write an example of your own")


def readable(examples: Sequence[Example], output: Output[Any], cue: str, path: Path) -> Iterator[Finding]:
    """Find outputs that would not be read back as themselves: `parse(render(output)) != output`."""
    for example in examples:
        text = output.render(example.output)
        try:
            back, _ = output.placed(output.parse(text, cue=cue), example.inputs)
        except OutputError as problem:
            message = f"the output is not read back: the prompt shows {text!r:.60}, and {problem}"
            yield error("round-trip", path, example.line, message, "write the output in another way")
            continue
        # A span may be another mention of the same words, which is more than a prompt can say.
        if back != example.output and (output.kind != "schema" or output.render(back) != text):
            message = f"the output is read back as {back!r:.60}, not as {example.output!r:.60}"
            yield error("round-trip", path, example.line, message, "write it as the answer should be read")
        if "\n\n" in text:
            message = "a blank line stands in the output: the text form would stop there"
            yield warning("blank-line", path, example.line, message, "write the output without it")


def repetitions(examples: Sequence[Example], spec: Spec, path: Path) -> Iterator[Finding]:
    """Find examples that are duplicates, contradict each other or hardly differ."""
    seen: dict[str, Example] = {}
    once = []
    for example in examples:
        first = seen.setdefault(_key(example.inputs), example)
        if first is example:
            once.append(example)
        elif first.output == example.output:
            yield warning("duplicate", path, example.line, f"stands already in line {first.line}", "remove one of them")
        else:
            message = f"says {example.output!r:.40}, but line {first.line} says {first.output!r:.40} of the same input"
            yield error("conflict", path, example.line, message, "keep the one that is right")
    for one, other in _alike(once, lambda e: _text(e.inputs, spec.inputs)):
        if one.output == other.output:
            message = f"hardly differs from line {one.line}, and teaches no more"
            yield warning("near-duplicate", path, other.line, message, "replace one of them")


def balance(examples: Sequence[Example], shown: Sequence[Example], spec: Spec, path: Path) -> Iterator[Finding]:
    """Find labels that have no example, none among the shots that are shown, or far fewer than another."""
    if spec.output is None or (labels := spec.output.labels) is None or not examples:
        return
    counts = Counter(dict.fromkeys(labels, 0))
    counts.update(label for example in examples for label in spec.output.labels_in(example.output))
    for label in labels:
        if not counts[label]:
            yield warning("no-example", path, None, f"the label {label!r} has no example", "add one")
    most, least = counts.most_common()[0], min(((n, c) for n, c in counts.items() if c), key=lambda pair: pair[1])
    if most[1] > _UNEVEN * least[1]:
        message = (
            f"{most[0]!r} has {most[1]} examples and {least[0]!r} only {least[1]}: a model leans to what it sees more"
        )
        yield warning("imbalance", path, None, message, 'even them out, or set select = "balanced"')
    seen = {label for example in shown for label in spec.output.labels_in(example.output)}
    hidden = [repr(label) for label in labels if counts[label] and label not in seen]
    if hidden and len(shown) >= len(labels):
        message = f"the {len(shown)} shots that are shown have none of {', '.join(hidden)}"
        yield warning("not-shown", path, None, message, 'set select = "balanced", or put one further up')


def leaks(examples: Sequence[Example], spec: Spec, path: Path, against: Path) -> Iterator[Finding]:
    """Find examples whose inputs also stand in a file of test rows, under whatever column names.

    Raises:
        TaskError: the file cannot be read.
    """
    tested: dict[str, list[tuple[int, frozenset[str]]]] = defaultdict(list)
    for line, row in each_row(against):
        if isinstance(row, TaskError):
            raise row
        texts = frozenset(fold(value) for value in row.values() if isinstance(value, str))
        for text in texts:
            tested[text].append((line, texts))
    for example in examples:
        asked = {fold(given) for name in spec.inputs if isinstance(given := example.inputs.get(name), str)}
        same = next((line for text in asked for line, texts in tested[text] if asked <= texts), None)
        if same is not None:
            message = f"also stands in the test file {against} (line {same}): the test would measure memory"
            yield error("leak", path, example.line, message, "remove it here or there")


def _ids(examples: Iterable[Example], path: Path) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for example in examples:
        first = seen.setdefault(example.id, example.line)
        if first != example.line:
            message = f"the id {example.id!r} is also that of line {first}"
            yield warning("duplicate-id", path, example.line, message, "give each its own")


def _alike(examples: Sequence[Example], text_of: Callable[[Example], str]) -> Iterator[tuple[Example, Example]]:
    """Give the pairs whose words are nearly the same.

    Only texts that share one of their rarest words are compared: two sets with a Jaccard index of t or more share one
    of the first (1 - t) of each when both are sorted alike (prefix filtering, Chaudhuri et al., ICDE 2006).
    """
    words = [frozenset(re.findall(r"\w+", text_of(example).casefold())) for example in examples]
    frequency = Counter(word for bag in words for word in bag)
    holders: dict[str, list[int]] = defaultdict(list)
    for place, bag in enumerate(words):
        if len(bag) < _FEWEST_WORDS:
            continue
        rarest = sorted(bag, key=lambda word: (frequency[word], word))[: len(bag) - math.ceil(_ALIKE * len(bag)) + 1]
        near = {earlier for word in rarest for earlier in holders[word]}
        twin = next((e for e in sorted(near) if len(words[e] & bag) >= _ALIKE * len(words[e] | bag)), None)
        if twin is not None:
            yield examples[twin], examples[place]
        for word in rarest:
            holders[word].append(place)


def _key(inputs: Mapping[str, Any]) -> str:
    return json.dumps({name: fold(str(value)) for name, value in inputs.items()}, sort_keys=True)


def _text(given: Mapping[str, Any], inputs: Iterable[str]) -> str:
    return " ".join(str(given[name]) for name in inputs if name in given)
