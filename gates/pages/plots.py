"""Plots of evidence as SVG text, the same bytes for the same evidence. Imports matplotlib, no torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from gates.evidence import Document
from gates.statistics.estimate import Estimate

INK, MUTED, GOOD, BAD, OPEN, PEER = "#1c2733", "#8a97a6", "#2f7d4f", "#b3392f", "#96690c", "#6b5fa8"
VARIABLES = {INK: "ink", MUTED: "muted", GOOD: "passed", BAD: "failed", OPEN: "undecided", PEER: "peer"}
"""Colours that the page around a plot sets, by light or darkness (`style.css.jinja`)."""
COLOURS = {"passed": GOOD, "failed": BAD, "undecided": OPEN, "peer": PEER}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "quantmill",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True)
class Point:
    """One attempt, or a peer's usual recipe, in the plane of size and quality."""

    name: str
    ratio: float
    harm: float
    outcome: str
    """`passed`, `failed`, `undecided` or `peer`."""


def per_document(
    documents: Sequence[Document], amounts: list[float], estimate: Estimate, limit: float | None, label: str
) -> str:
    """Plot one amount per token and document, least first, with mean, interval and limit."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 2.5), layout="constrained")
        axes = figure.add_subplot()
        values = np.sort(np.array(amounts) / np.array([d.tokens for d in documents]))
        axes.vlines(np.arange(len(values)), 0, values, color=MUTED, linewidth=0.8)
        axes.plot(np.arange(len(values)), values, "o", color=INK, markersize=3)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.axhline(estimate.value, color=GOOD, linewidth=1.4, label=f"mean {estimate.value:.4g}")
        if estimate.low is not None and estimate.high is not None:
            axes.axhspan(estimate.low, estimate.high, color=GOOD, alpha=0.18, linewidth=0, label="its 95 % bounds")
        if limit is not None:
            axes.axhline(limit, color=BAD, linewidth=1.4, linestyle="--", label=f"limit {limit:.4g}")
        axes.set(xlabel="document, from least to most changed", ylabel=label)
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0)
        return _svg(figure)


def quality_against_size(points: Sequence[Point], label: str, most: float | None, max_ratio: float | None) -> str:
    """Plot what `label` says against size of every attempt; what lies inside both limits is shaded."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        lowest = min([max(p.harm, 1e-6) for p in points] + [most or np.inf])
        highest = max([p.harm for p in points] + [most or 0, lowest * 3])
        right = max([p.ratio for p in points] + [max_ratio or 0]) * 1.25
        axes.set(yscale="log", xlim=(0, right), ylim=(lowest / 2, highest * 2))
        if most is not None and max_ratio is not None:
            axes.fill_between([0, max_ratio], lowest / 2, most, color=GOOD, alpha=0.08, linewidth=0)
        for limit, draw in ((most, axes.axhline), (max_ratio, axes.axvline)):
            if limit is not None:
                draw(limit, color=BAD, linewidth=1.2, linestyle="--")
        # Close points are labelled above and below in turn, and on the left where another one is on the right.
        for number, point in enumerate(sorted(points, key=lambda point: point.harm)):
            marker, colour = ("D" if point.outcome == "peer" else "o"), COLOURS[point.outcome]
            axes.plot(point.ratio, max(point.harm, lowest), marker, color=colour, markersize=6)
            position = (point.ratio, max(point.harm, lowest))
            side = "right" if any(_beside(point, other, right) for other in points) else "left"
            offset = ({"left": 6, "right": -6}[side], (-10, 5)[number % 2])
            axes.annotate(point.name, position, offset, textcoords="offset points", ha=side, fontsize=8, color=colour)
        axes.set(xlabel="bytes of weights over the original's", ylabel=label)
        return _svg(figure)


def _beside(point: Point, other: Point, width: float) -> bool:
    """Whether a label on the right of a point would lie on another one."""
    apart = abs(np.log10(max(other.harm, 1e-6) / max(point.harm, 1e-6)))
    return 0 < other.ratio - point.ratio < width / 6 and bool(apart < 0.25)


def drift(lines: dict[str, list[tuple[str, float]]], label: str) -> str:
    """Plot what `label` says over time, one line a target; times are ISO 8601."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.4, 2.8), layout="constrained")
        axes = figure.add_subplot()
        for name, nights in lines.items():
            times = [np.datetime64(when[:19]) for when, _ in nights]
            axes.plot(times, [kld for _, kld in nights], "o-", markersize=4, linewidth=1.2, label=name)
        axes.set(ylabel=label, ylim=(0, None))
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0)
        figure.autofmt_xdate()
        return _svg(figure)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    written = text.getvalue()
    for colour, name in VARIABLES.items():
        written = written.replace(colour, f"var(--{name}, {colour})")
    return written[written.index("<svg") :]
