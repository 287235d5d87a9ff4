"""Strip plots of a cohort: where each pair lies among those of its kind, as places on a drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.quality.cohort import UNUSUAL, centre_and_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WIDTH = 600.0
MARGIN = 14.0
ROW_HEIGHT = 58.0
LABEL_HEIGHT = 16.0
MOST_DOTS = 120
"""Of a kind with more pairs the shape of the distribution is drawn, and its outliers."""
BINS = 60
LEAST_RANGE = 1e-3
"""The axis shows at least this part of the values' size: what differs by less is as good as equal."""
MOST_DIGITS = 15


@dataclass(frozen=True)
class Dot:
    """One pair: its place on the drawing, and whether it is far from the others or off the scale."""

    pair: int
    x: float
    y: float
    value: float
    is_outlier: bool
    is_beyond: bool


@dataclass(frozen=True)
class StripRow:
    """The pairs of one kind.

    Attributes
    ----------
    name
        The kind in words.
    count
        Pairs that have the measure.
    top
        Upper edge on the drawing.
    median, usual
        Place of the median, and of the left and right end of what is usual; None where there are too few.
    outline
        Path of the distribution's shape; empty where every pair has a dot.
    dots
        Pairs that are drawn one by one.
    """

    name: str
    count: int
    top: float
    median: float | None
    usual: tuple[float, float] | None
    outline: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Strip:
    """The plot of one measure: rows, ticks as places with words, and size."""

    rows: tuple[StripRow, ...]
    ticks: tuple[tuple[float, str], ...]
    height: float
    width: float = WIDTH


@dataclass(frozen=True, eq=False)
class Column:
    """Values of one measure of the pairs of one kind, ``(n,)``, NaN for none, and which pairs they are."""

    name: str
    values: NDArray[np.float64]
    pairs: Sequence[int]


def strip(columns: Sequence[Column]) -> Strip | None:
    """Lay out a strip plot; None where no pair has the measure.

    Parameters
    ----------
    columns
        One for each kind of pair.
    """
    known = [each for each in columns if np.isfinite(each.values).any()]
    if not known:
        return None
    axis = _Axis.over(np.concatenate([each.values[np.isfinite(each.values)] for each in known]))
    rows = tuple(_row(each, axis, number * ROW_HEIGHT) for number, each in enumerate(known))
    return Strip(rows, axis.ticks(), len(rows) * ROW_HEIGHT + 24)


@dataclass(frozen=True)
class _Axis:
    """The scale: what lies beyond is drawn at its ends."""

    low: float
    high: float

    @staticmethod
    def over(values: NDArray[np.float64]) -> _Axis:
        """Take in everything but what is so far out that it would press the rest together."""
        low, high = np.percentile(values, [2, 98])
        room = float(high - low) or float(np.ptp(values))
        first, last = max(float(values.min()), low - room), min(float(values.max()), high + room)
        least = LEAST_RANGE * max(abs(first), abs(last))
        if last - first <= least:
            middle, half = (first + last) / 2, least / 2 or 1.0
            first, last = middle - half, middle + half
        return _Axis(float(first), float(last))

    def place(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        part = np.clip((value - self.low) / (self.high - self.low), 0, 1)
        return np.asarray(MARGIN + part * (WIDTH - 2 * MARGIN))

    def ticks(self) -> tuple[tuple[float, str], ...]:
        from matplotlib.ticker import MaxNLocator

        values = np.asarray(MaxNLocator(5).tick_values(self.low, self.high), np.float64)
        inside = values[(self.low <= values) & (values <= self.high)]
        words = _told_apart(inside, float(values[1] - values[0]))
        return tuple(zip((round(float(x), 1) for x in self.place(inside)), words, strict=True))


def _told_apart(values: NDArray[np.float64], step: float) -> list[str]:
    """Write ticks with four digits, or as many more as tell them apart."""
    # Beside a step, the rounding error of a tick at zero is nothing, but would be written.
    values = np.where(np.abs(values) < 1e-6 * step, 0.0, values)
    for digits in range(4, MOST_DIGITS):
        words = [f"{value:.{digits}g}" for value in values]
        if np.abs(np.array(words, float) - values).max(initial=0) < 0.01 * step:
            return words
    return [f"{value:.{MOST_DIGITS}g}" for value in values]


def _row(column: Column, axis: _Axis, top: float) -> StripRow:
    middle, scale = centre_and_scale(column.values)
    finite = np.isfinite(column.values)
    outlying = np.zeros(len(finite), bool)
    median, usual = None, None
    if math.isfinite(middle):
        ends = axis.place(middle + np.array([-1, 0, 1]) * UNUSUAL * scale)
        median, usual = round(float(ends[1]), 1), (round(float(ends[0]), 1), round(float(ends[2]), 1))
    if scale > 0:
        outlying = finite & (np.abs(column.values - middle) > UNUSUAL * scale)
    crowded = int(finite.sum()) > MOST_DOTS
    shown = _farthest(column.values, outlying, middle) if crowded else np.flatnonzero(finite)
    return StripRow(
        name=column.name,
        count=int(finite.sum()),
        top=top,
        median=median,
        usual=usual,
        outline=_outline(axis.place(column.values[finite]), top) if crowded else "",
        dots=tuple(_dot(column, int(place), axis, top, is_outlier=bool(outlying[place])) for place in shown),
    )


def _dot(column: Column, place: int, axis: _Axis, top: float, *, is_outlier: bool) -> Dot:
    value = float(column.values[place])
    # The golden ratio spreads neighbours well, and is the same each time.
    up = (place * 0.618034) % 1.0
    y = top + LABEL_HEIGHT + 6 + up * (ROW_HEIGHT - LABEL_HEIGHT - 14)
    x = float(axis.place(np.array(value)))
    return Dot(
        column.pairs[place], round(x, 1), round(y, 1), value, is_outlier, not axis.low <= value <= axis.high
    )


def _farthest(values: NDArray[np.float64], outlying: NDArray[np.bool_], middle: float) -> NDArray[np.intp]:
    """Choose the outliers that lie farthest out, as many as may be drawn."""
    places = np.flatnonzero(outlying)
    return places[np.argsort(-np.abs(values[places] - middle), kind="stable")[:MOST_DOTS]]


def _outline(places: NDArray[np.float64], top: float) -> str:
    """Draw a histogram, mirrored about the middle of the row, as an SVG path."""
    counts, edges = np.histogram(places, bins=BINS, range=(MARGIN, WIDTH - MARGIN))
    middle = top + LABEL_HEIGHT + (ROW_HEIGHT - LABEL_HEIGHT) / 2 - 1
    # The root keeps rare values visible beside a sharp peak.
    half = np.sqrt(counts / counts.max()) * (ROW_HEIGHT - LABEL_HEIGHT - 8) / 2
    steps = [
        (x, y) for left, right, y in zip(edges[:-1], edges[1:], half, strict=True) for x in (left, right)
    ]
    upper = [f"{x:.1f},{middle - y:.1f}" for x, y in steps]
    lower = [f"{x:.1f},{middle + y:.1f}" for x, y in reversed(steps)]
    return f"M{' L'.join([*upper, *lower])}Z"
