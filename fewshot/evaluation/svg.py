"""Line plots as inline SVG: no library, no script, colours from the page's style so that they suit light and dark.

What is drawn stands here, and how in `chart.svg.jinja`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Line", "Plot"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Lines in a frame that reaches from the first tick to the last on both axes."""

    title: str
    text: str
    """What it tells, for a person."""
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    x_label: str
    y_label: str

    def x(self, value: float) -> float:
        """Give the place of a value across the drawing."""
        low, high = self.x_ticks[0][0], self.x_ticks[-1][0]
        return round(50 + (value - low) / ((high - low) or 1) * 290, 1)

    def y(self, value: float) -> float:
        """Give the place of a value down the drawing."""
        low, high = self.y_ticks[0][0], self.y_ticks[-1][0]
        return round(218 - (value - low) / ((high - low) or 1) * 206, 1)
