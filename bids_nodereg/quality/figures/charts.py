"""Charts as SVG that follow the reader's light or dark colours."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np

from bids_nodereg.files import write_text
from bids_nodereg.quality.figures.maps import nice_limit
from bids_nodereg.quality.jacobian import LOG_FLOOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INK = "#010203"
"""Stands for the colour of the text, which the reader's light or dark setting decides."""
LINE_COLOURS = ("#2a78d6", "#d9822b", "#2f9e6e", "#b0529f", "#8a6d3b", "#7a869a")
FOLD = "#d6336c"
STYLE = "<style>svg{color:#1f2933}@media(prefers-color-scheme:dark){svg{color:#d5dbe3}}</style>"


@dataclass(frozen=True)
class Trace:
    """What the optimiser saw, iteration by iteration.

    Attributes
    ----------
    total
        Objective at each iteration.
    terms
        Weighted terms of the objective by name, each as long as ``total``.
    levels
        First iteration and name of each level of the pyramid, in order.
    """

    total: Sequence[float]
    terms: Mapping[str, Sequence[float]]
    levels: Sequence[tuple[int, str]]


def write_convergence(path: Path, trace: Trace) -> Path:
    """Write the objective and its terms per iteration with the borders of the levels.

    Levels start anew (other voxels, other descriptors), so a step between them is no setback. The
    scale is linear: mutual information is a gain, so that the objective may be negative.

    Parameters
    ----------
    path
        Final name, ``.svg``.
    trace
        The history of the optimisation.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = _chart((9.2, 3.1))
    steps = np.arange(len(trace.total))
    curves = {"objective": trace.total, **trace.terms}
    for number, (name, values) in enumerate(curves.items()):
        height = np.asarray(values, float)
        if not height.any():
            continue
        colour = INK if number == 0 else LINE_COLOURS[(number - 1) % len(LINE_COLOURS)]
        axes.plot(steps, height, color=colour, linewidth=1.8 if number == 0 else 1.2, label=name)
    for start, name in trace.levels:
        axes.axvline(start, color=INK, linewidth=0.6, alpha=0.35)
        place = axes.get_xaxis_transform()
        axes.text(start, 1.02, f" {name}", transform=place, color=INK, fontsize=8, va="bottom")
    axes.set_xlabel("iteration", color=INK)
    axes.set_ylabel("weighted loss", color=INK)
    axes.set_xlim(0, max(len(steps) - 1, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _write(path, figure)


def write_jacobian_histogram(path: Path, determinant: NDArray[np.floating], folded: int) -> Path:
    """Write the histogram of the log-Jacobian in the mask.

    Parameters
    ----------
    path
        Final name, ``.svg``.
    determinant
        ``(n,)`` determinants of the voxels of the mask.
    folded
        How many of these voxels fold, by the ten determinants.
    """
    figure, axes = _chart((9.2, 2.4))
    logarithm = np.log(np.maximum(np.asarray(determinant, float), LOG_FLOOR))
    limit = nice_limit(np.abs(logarithm))
    part = np.full(logarithm.shape, 100 / max(logarithm.size, 1))
    axes.hist(
        np.clip(logarithm, -limit, limit),
        bins=81,
        range=(-limit, limit),
        weights=part,
        color=LINE_COLOURS[0],
        histtype="stepfilled",
    )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("ln J   (below 0: contraction, above 0: expansion)", color=INK)
    axes.set_ylabel("voxels of the mask, %", color=INK)
    axes.set_xlim(-limit, limit)
    words = "no folded voxel" if folded == 0 else f"{folded:,} folded voxels"
    axes.text(
        0.995, 0.95, words, transform=axes.transAxes, ha="right", va="top", color=FOLD if folded else INK
    )
    return _write(path, figure)


def _chart(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Make an empty chart in the reader's ink, without a background."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
        axes.spines[side].set_alpha(0.5)
    axes.tick_params(which="both", colors=INK, labelsize=8)
    axes.grid(visible=True, axis="y", color=INK, alpha=0.12, linewidth=0.6)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    return figure, axes


def _write(path: Path, figure: Figure) -> Path:
    """Write a chart as SVG whose ink is the colour of the text around it."""
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(INK, "currentColor")
    start = drawing.index(">") + 1
    write_text(path, drawing[:start] + STYLE + drawing[start:])
    return path
