"""The pictures: learning curves against counted models, and quality against build time.

matplotlib draws them with placeholder colours; `inline` swaps those for the page's CSS variables, so that one SVG is right
on light paper, on dark, and in print, and its text is text in the page's own typeface. `standalone` gives the same
picture as bytes of an SVG or PNG file with colours of its own. No timestamp and no random id gets in.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from yanmo.core.messages import text
from yanmo.evaluate.page import Markup

INK, SOFT, RULE, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = [f"#1000{index:02d}" for index in range(8)]
VARIABLES = {INK: "var(--ink)", SOFT: "var(--soft)", RULE: "var(--rule)", PAPER: "var(--paper)",
             **{placeholder: f"var(--c{index})" for index, placeholder in enumerate(SERIES)}}  # fmt: skip
LINES = ["#1d1b19", "#a8321f", "#2c6e91", "#b07d12", "#4d7c3a", "#7a4e8f", "#0f7f78", "#8a5a3c"]
COLOURS = {INK: "#1d1b19", SOFT: "#6a645c", RULE: "#ddd7cb", PAPER: "#ffffff", **dict(zip(SERIES, LINES))}


@dataclass(frozen=True)
class Curve:
    """A trained model's way down: `points` (seconds, step, bits per byte) on held-out text, `training` on its batches."""

    name: str
    points: list[tuple[float, float, float]]
    training: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Mark:
    """One finished model: what it took and what it reached. `series` joins marks of one kind (a model in several runs)."""

    name: str
    seconds: float
    value: float
    low: float | None = None
    high: float | None = None
    series: str = ""


def learning_curves(curves: Sequence[Curve], counted: Sequence[Mark]) -> Any:
    """Two panels, against seconds and against steps; counted models are lines that begin when they are ready."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.25, 1])
    colour = {name: SERIES[1 + index % 7] for index, name in enumerate(curve.name for curve in curves)}
    ends: list[tuple[float, str, str]] = []
    shown = _levels(counted)
    values = [v for curve in curves for *_, v in curve.points] + [mark.value for mark in shown]
    low, high = min(values), max(values)
    longest = max([s for curve in curves for s, _, _ in curve.points] + [mark.seconds for mark in shown])
    for axis, column in ((left, 0), (right, 1)):
        for curve in curves:
            smooth = _smooth([(point[column], point[2]) for point in curve.training])
            axis.plot(*_columns(smooth), color=colour[curve.name], linewidth=0.8, alpha=0.35)
            points = [(point[column], point[2]) for point in curve.points]
            axis.plot(*_columns(points), color=colour[curve.name], linewidth=1.7, marker="o", markersize=2.6)
        for mark in shown:
            start = mark.seconds if axis is left else 0
            axis.plot([start, longest * 3] if axis is left else [0, 10**9], [mark.value] * 2, color=INK, linewidth=0.8,
                      dashes=(4, 2))  # fmt: skip
            if axis is left:
                axis.plot([start], [mark.value], "o", color=INK, markersize=3)
    for curve in curves:
        ends.append((curve.points[-1][2], curve.name, colour[curve.name]))
    left.set_xscale("log")
    left.set_xlim(max(0.05, min(_starts(curves, shown)) * 0.8), longest * 1.15)
    right.set_xlim(0, max(s for curve in curves for _, s, _ in curve.points) * 1.02)
    span = max(high - low, 0.1)
    left.set_ylim(low - 0.07 * span, min(high, low + 3.5) + 0.07 * span)
    left.set_xlabel(text("time of training").render())
    right.set_xlabel(text("steps").render())
    left.set_ylabel(text("bits per byte, held-out").render())
    for axis in (left, right):
        _plain(axis)
    _label_ends(right, ends + [(mark.value, mark.name, INK) for mark in shown])
    _plain_log(left)
    return figure


def quality_by_time(marks: Sequence[Mark], metric: str, lower_is_better: bool = True) -> Any:
    """Each model where its build time and its quality put it; marks of one series are joined."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.4), layout="constrained")
    axis = figure.subplots()
    series = sorted({mark.series or mark.name for mark in marks})
    for index, name in enumerate(series):
        own = sorted((m for m in marks if (m.series or m.name) == name), key=lambda mark: mark.seconds)
        colour = SERIES[index % 8]
        axis.plot([m.seconds for m in own], [m.value for m in own], color=colour, linewidth=1.2, marker="o", markersize=4.5)
        for mark in own:
            if mark.low is not None and mark.high is not None:
                axis.plot([mark.seconds] * 2, [mark.low, mark.high], color=colour, linewidth=0.9, alpha=0.6)
        last = own[-1]
        axis.annotate(name, (last.seconds, last.value), (7, 0), textcoords="offset points", color=colour, va="center",
                      fontsize=9.5)  # fmt: skip
    axis.set_xscale("log")
    seconds = [mark.seconds for mark in marks]
    axis.set_xlim(min(seconds) * 0.6, max(seconds) * 3.2)
    axis.set_xlabel(text("seconds to build (measured, on the machine of the run)").render())
    axis.set_ylabel(metric)
    if not lower_is_better:
        axis.set_ylim(top=1.02 * max((m.high or m.value) for m in marks))
    _plain(axis)
    _plain_log(axis)
    return figure


# ---------------------------------------------------------------------------------------------- output


def inline(draw: Callable[[], Any], label: str) -> Markup:
    """The picture as an <svg> element in the page's colours; `label` is what a screen reader says."""
    source = _svg(draw)
    body = source[source.index("<svg") :]
    for placeholder, variable in VARIABLES.items():
        body = body.replace(placeholder, variable)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace(">*{", ">svg *{")  # figure_1 … would stand in every picture
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub(r"; font-family: [^;\"]*|font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r' (?:width|height)="[\d.]+pt"', "", body, count=2)
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return Markup(body.replace("<svg", f'<svg role="img" aria-label="{quoted}"', 1).strip())


def standalone(draw: Callable[[], Any], kind: str = "svg") -> bytes:
    """The picture as the bytes of an 'svg' or 'png' file."""
    if kind == "svg":
        source = _svg(draw)
        for placeholder, colour in COLOURS.items():
            source = source.replace(placeholder, colour)
        return source.encode("utf-8")
    assert kind == "png", kind
    with _style():
        figure = draw()
        for artist in figure.findobj():
            _recolour(artist)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160, facecolor=COLOURS[PAPER], metadata={"Software": None})
        return buffer.getvalue()


def _svg(draw: Callable[[], Any]) -> str:
    with _style():
        buffer = io.StringIO()
        draw().savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


class _style:
    """matplotlib's settings while a picture is drawn; a typeface without a glyph is no matter, since text stays text."""

    def __enter__(self) -> None:
        import matplotlib

        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")
        self._context = matplotlib.rc_context({
            "svg.fonttype": "none", "svg.hashsalt": "yanmo", "font.size": 10, "axes.labelcolor": SOFT, "xtick.color": SOFT,
            "ytick.color": SOFT, "axes.edgecolor": SOFT, "grid.color": RULE, "text.color": INK, "axes.linewidth": 0.6,
            "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4,
        })  # fmt: skip
        self._context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)
        self._warnings.__exit__(*error)


def _recolour(artist: Any) -> None:
    from matplotlib.colors import is_color_like, to_hex

    for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
        getter, setter = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
        if getter and setter and is_color_like(value := getter()) and (found := COLOURS.get(to_hex(value))):
            setter(found)


# ---------------------------------------------------------------------------------------------- parts of a picture


def _levels(counted: Sequence[Mark]) -> list[Mark]:
    """At most four counted models, best first: more lines than that hide the curves."""
    return sorted((mark for mark in counted if math.isfinite(mark.value)), key=lambda mark: mark.value)[:4]


def _starts(curves: Sequence[Curve], counted: Sequence[Mark]) -> list[float]:
    found = [s for curve in curves for s, _, _ in curve.points if s > 0] + [mark.seconds for mark in counted]
    return [s for s in found if s > 0] or [1.0]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _smooth(points: Sequence[tuple[float, float]], groups: int = 160) -> list[tuple[float, float]]:
    """At most `groups` points, each the mean of its neighbours."""
    size = max(1, math.ceil(len(points) / groups))
    chunks = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in chunk) / len(chunk), sum(y for _, y in chunk) / len(chunk)) for chunk in chunks]


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", linewidth=0.6)
    axis.set_axisbelow(True)


def _plain_log(axis: Any) -> None:
    """Seconds as people say them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    names = {0.1: "0.1 s", 0.3: "0.3 s", 1: "1 s", 3: "3 s", 10: "10 s", 60: "1 min", 180: "3 min", 600: "10 min",
             1800: "30 min", 3600: "1 h", 10800: "3 h", 36000: "10 h", 86400: "1 d", 259200: "3 d"}  # fmt: skip
    low, high = axis.get_xlim()
    ticks = [tick for tick in names if low <= tick <= high]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: names.get(value, "")))


def _label_ends(axis: Any, ends: list[tuple[float, str, str]]) -> None:
    """Names beside the right edge at the height of their lines, moved apart where they would overlap."""
    low, high = axis.get_ylim()
    gap = (high - low) * 0.052
    placed: list[float] = []
    for value, name, colour in sorted(ends):
        height = max(min(value, high), placed[-1] + gap if placed else -math.inf)
        placed.append(height)
        axis.annotate(f"{name}  {value:.2f}", (1.02, height), xycoords=("axes fraction", "data"), color=colour, va="center",
                      fontsize=9, annotation_clip=False)  # fmt: skip
