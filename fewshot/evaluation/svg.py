"""Line plots as inline SVG: no library, no script, colours from the page's style so that they suit light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["STYLE", "Line", "alone", "chart"]

_WIDTH, _HEIGHT = 360, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 20, 12, 42

STYLE = """\
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); } .grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke: var(--main); stroke-width: 2; } .line.ideal { stroke: var(--soft); stroke-dasharray: 4 4; }
.band { fill: var(--main); opacity: .15; } .dot { fill: var(--main); } .dot.draw { opacity: .45; }"""
"""What a page needs to show a chart, beside the colours `--main`, `--soft` and `--rule`."""
_COLOURS = """\
:root { --soft: #60666d; --rule: #dfe2e5; --main: #0b62d6; }
@media (prefers-color-scheme: dark) { :root { --soft: #9aa2aa; --rule: #33393f; --main: #6cabff; } }"""

Tick = tuple[float, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot; `style` is a class of the page's style sheet."""

    points: Sequence[tuple[float, float]]
    style: str = "main"
    band: Sequence[tuple[float, float, float]] = ()
    """Positions with a lower and an upper bound."""
    dots: Sequence[str] = ()
    """Where points are to be seen: what to say of each when pointed at."""
    sizes: Sequence[float] = ()
    """Radii of the dots; 3 by default."""


def chart(
    lines: Sequence[Line], *, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], x_label: str, y_label: str, title: str
) -> str:
    """Draw lines in a frame that reaches from the first tick to the last on both axes."""
    frame = _Frame((x_ticks[0][0], x_ticks[-1][0]), (y_ticks[0][0], y_ticks[-1][0]))
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
    ]
    for value, text in y_ticks:
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{escape(text)}</text>')
    for value, text in x_ticks:
        x = frame.x(value)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{escape(text)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="axis" x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    height = (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = f'transform="translate(11 {height}) rotate(-90)" text-anchor="middle"'
    parts.append(f'<text class="axis" {turned}>{escape(y_label)}</text>')
    parts += [_drawn(line, frame) for line in lines]
    return "".join(parts) + "</svg>"


def alone(drawing: str) -> str:
    """Make a chart a file of its own, with style and colours, which a page can show as a picture."""
    size = f'xmlns="http://www.w3.org/2000/svg" width="{2 * _WIDTH}" height="{2 * _HEIGHT}"'
    opened = drawing.replace("<svg ", f"<svg {size} ", 1)
    return opened.replace("</title>", f"</title><style>{_COLOURS}\n{STYLE}</style>", 1) + "\n"


@dataclass(frozen=True, slots=True)
class _Frame:
    """Turns values into places on the drawing."""

    xs: tuple[float, float]
    ys: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.xs
        return round(_LEFT + (value - low) / ((high - low) or 1) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.ys
        return round(_HEIGHT - _BOTTOM - (value - low) / ((high - low) or 1) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _drawn(line: Line, frame: _Frame) -> str:
    parts = []
    if line.band:
        upper = [f"{frame.x(x)},{frame.y(high)}" for x, _, high in line.band]
        lower = [f"{frame.x(x)},{frame.y(low)}" for x, low, _ in reversed(line.band)]
        parts.append(f'<polygon class="band {line.style}" points="{" ".join(upper + lower)}"/>')
    path = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in line.points)
    parts.append(f'<polyline class="line {line.style}" points="{path}"/>')
    for place, (said, (x, y)) in enumerate(zip(line.dots, line.points, strict=False)):
        radius = line.sizes[place] if line.sizes else 3
        dot = f'<circle class="dot {line.style}" cx="{frame.x(x)}" cy="{frame.y(y)}" r="{radius}">'
        parts.append(f"{dot}<title>{escape(said)}</title></circle>")
    return "".join(parts)
