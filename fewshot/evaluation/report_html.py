"""A report as one page that needs nothing else: no network, no script, light and dark, phone and desk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.calibration.abstention import coverage_curve
from fewshot.errors import InputError
from fewshot.evaluation.metrics import reliability
from fewshot.evaluation.predictions import CURVE
from fewshot.evaluation.svg import Line, Plot

if TYPE_CHECKING:
    import jinja2


__all__ = ["ABOUT", "page", "picture"]

_TENTHS = [(t / 5, f"{t * 20}%") for t in range(6)]
ABOUT = {
    "accuracy": "share of rows with the right label",
    "accuracy_given": "the same among rows that were not held back",
    "answerable_kept": "answered where there is an answer, rightly or not",
    "answerability": "answered where there is an answer, and not where there is none",
    "auroc": "chance that a right answer is surer than a wrong one",
    "auroc_answerable": "chance that a question with an answer is likelier to have one than a question without",
    "brier": "squared error of the probabilities; lower is better",
    "chrf": "chrF of all rows together, 0 to 100",
    "coverage": "share of rows that were not held back",
    "ece": "how far confidence is from accuracy; lower is better",
    "ece_by_chance": "the ece of confidences that are exactly right: few rows never give 0",
    "entity_f1": "F1 of all spans together: label and both ends are right",
    "entity_f1_overlap": "the same, where a right label and a common character are enough",
    "exact_match": "share of answers equal to a reference",
    "exact_match_answerable": "the same, where there is an answer",
    "field_accuracy": "share of fields that are right",
    "flip_rate_case": "answers that change with capital letters",
    "flip_rate_labels": "answers that change with the order of the labels",
    "flip_rate_punctuation": "answers that change with a full stop",
    "flip_rate_repeated": "answers that change when asked again",
    "flip_rate_shots": "answers that change with the order of the shots",
    "flip_rate_spaces": "answers that change with white space",
    "label_ece": "mean over labels of how far a label's probability is from how often it holds",
    "macro_f1": "mean F1 of the labels",
    "micro_f1": "F1 over all rows and labels",
    "nll": "negative log-likelihood in nats; lower is better",
    "numeric_match": "share of right numbers",
    "row_f1": "mean over rows of the F1 of the row's labels",
    "rouge1": "words shared with the reference",
    "rouge2": "pairs of words shared with the reference",
    "rougeL": "longest common run of words",
    "token_f1": "words shared with the best reference",
    "token_f1_answerable": "the same, where there is an answer",
    "unanswerable_accuracy": "no answer given where there is none",
}
"""What each figure means."""
_TILES = (
    "accuracy", "numeric_match", "entity_f1", "exact_match", "token_f1", "micro_f1", "macro_f1", "chrf", "rougeL",
    "ece", "unanswerable_accuracy", "coverage",
)  # fmt: skip
"""What is shown large, in this order."""
_NO_SHARE = frozenset({"nll", "brier", "chrf"})


def page(report: Any) -> str:
    """Make the page of a `Report`."""
    figures = {n: (n, ABOUT.get(n, ""), figure, n in _NO_SHARE) for n, figure in report.metrics.items()}
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            data=report.to_dict(predictions=False),
            figures=list(figures.values()),
            tiles=[figures[name] for name in _TILES if name in figures][:5],
            curve_of=CURVE[report.kind],
            plots=list(_plots(report)),
            mistakes=[(report.predictions[m.row], m.prompt) for m in report.mistakes],
            failures=[p for p in report.predictions if p.error is not None],
        )
    )


def picture(report: Any) -> str:
    """Draw the score of a `Report` over the number of shots as an SVG file.

    Raises:
        InputError: the report has no such curve.
    """
    if len(report.curve) < 2:
        raise InputError("only a curve over k can be drawn alone: evaluate with several, such as k=[0, 4, 16]")
    drawing: Any = _environment().get_template("chart.svg.jinja").module
    return str(drawing.chart(_shots(report), alone=True))


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    made = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, loader=loader)
    made.filters["plain"] = _plain
    return made


def _plain(value: Any) -> str:
    """Write a value for a person: texts as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _plots(report: Any) -> Iterator[Plot]:
    if report.chances:
        confidences, right = [c for c, _ in report.chances], [right for _, right in report.chances]
        bins = reliability(confidences, right, bins=10)
        most = max(b.rows for b in bins)
        line = Line(
            [(b.confidence, b.accuracy) for b in bins],
            dots=[f"{b.rows} rows: confidence {b.confidence:.1%}, accuracy {b.accuracy:.1%}" for b in bins],
            sizes=[2.5 + 6 * (b.rows / most) ** 0.5 for b in bins],
        )
        yield Plot(
            title="Reliability",
            text="On the dashed line a confidence means what it says.",
            lines=[Line([(0, 0), (1, 1)], "ideal"), line],
            x_ticks=_TENTHS,
            y_ticks=_TENTHS,
            x_label="confidence",
            y_label="accuracy",
        )
        curve = coverage_curve(confidences, right)
        thinned = curve[:: max(1, len(curve) // 200)]
        points = [(point.coverage, point.accuracy) for point in [*thinned, curve[-1]]]
        yield Plot(
            title="Accuracy by coverage",
            text="What holding back unsure answers buys.",
            lines=[Line(points)],
            x_ticks=_TENTHS,
            y_ticks=_around([y for _, y in points]),
            x_label="share of rows accepted, the surest first",
            y_label="accuracy among these",
        )
    if len(report.curve) > 1:
        yield _shots(report)


def _shots(report: Any) -> Plot:
    line = Line(
        [(x, point.score.value) for x, point in enumerate(report.curve)],
        band=[(x, point.score.low, point.score.high) for x, point in enumerate(report.curve)],
        dots=[f"k={point.k}: {point.score}, draws: {len(point.draws)}" for point in report.curve],
    )
    spots = [(x, score) for x, p in enumerate(report.curve) if len(p.draws) > 1 for score in p.draws]
    return Plot(
        title="Score by number of shots",
        text="Band: 95% interval over rows and draws of shots.",
        lines=[line, *(Line([spot], "draw", dots=[f"one draw: {spot[1]:.3f}"], sizes=[2]) for spot in spots)],
        x_ticks=[(x, str(point.k)) for x, point in enumerate(report.curve)],
        y_ticks=_around([bound for p in report.curve for bound in (p.score.low, p.score.high, *p.draws)]),
        x_label="shots in the prompt (k)",
        y_label=CURVE[report.kind].replace("_", " "),
    )


def _around(values: Sequence[float]) -> list[tuple[float, str]]:
    """Choose ticks of 10 or 20 points that enclose the values."""
    low, high = int(min(values) * 10), -int(-max(values) * 10 // 1)
    step = 1 if high - low <= 6 else 2
    low -= low % step
    return [(t / 10, f"{t * 10}%") for t in range(low, max(high, low + 1) + step, step) if t <= 10]
