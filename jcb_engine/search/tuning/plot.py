"""A curve as a picture: recall against the time of a query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jcb_engine.errors import InputError, MissingDependencyError
from jcb_engine.search.tuning.choice import cheapest
from jcb_engine.storage import TunedPoint, TuningCurve

_FORMATS = (".png", ".svg", ".pdf")
_TICKS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
_TIMES = tuple(digit * 10.0**power for power in range(-2, 6) for digit in (1, 2, 5))


def check_plot(path: Path) -> None:
    """Raise what drawing to `path` would raise, before anything is measured."""
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"the plot is to be '{path.name}'; the name must end in {', '.join(_FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the plot is to be {path}; there is no folder {path.absolute().parent}")
    _figure_class()


def plot_curve(curve: TuningCurve, path: Path) -> None:
    """Draw recall against time, both logarithmic: upwards the missed share shrinks. Raises InputError."""
    figure = _figure_class()(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    least = 0.5 / (curve.queries * curve.k)  # stands for nothing missed, which has no logarithm
    approximate, exact = curve.points[:-1], curve.points[-1]
    axes.errorbar(
        [point.median_ms for point in approximate],
        [_missed(point.recall, least) for point in approximate],
        yerr=[[_below(point, least) for point in approximate], [point.standard_error for point in approximate]],
        fmt="o",
        markersize=4,
        linewidth=0.8,
        color="tab:blue",
        label="approximate, with its standard error",
    )
    axes.plot([exact.median_ms], [least], "s", color="tab:orange", label="exact")
    chosen = cheapest(curve.points, curve.asked_recall)
    axes.plot(
        [chosen.median_ms],
        [_missed(chosen.recall, least)],
        "o",
        markersize=12,
        fillstyle="none",
        color="tab:red",
        label=f"chosen for recall {curve.asked_recall:g}: {_settings_text(chosen)}",
    )
    if curve.asked_recall < 1:
        axes.axhline(1 - curve.asked_recall, linestyle=":", linewidth=1, color="grey")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1, least / 2)
    recalls = [recall for recall in _TICKS if 1 - recall > least]
    axes.set_yticks([*(1 - recall for recall in recalls), least], labels=[*(f"{recall:g}" for recall in recalls), "1"])
    axes.minorticks_off()
    times = [time for time in _TIMES if _within(time, curve.points)]
    axes.set_xticks(times, labels=[f"{time:g}" for time in times])
    axes.set_xlabel(f"median milliseconds of a query ({curve.machine}; {curve.backend})", fontsize=8)
    axes.set_ylabel(f"recall@{curve.k} of exact search")
    axes.set_title(f"{curve.query_source}; {curve.stage}, version {curve.version}", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _missed(recall: float, least: float) -> float:
    return max(1 - recall, least)


def _below(point: TunedPoint, least: float) -> float:
    """How far the bar of an error reaches towards recall 1, where it has to end."""
    missed = _missed(point.recall, least)
    return min(point.standard_error, missed - min(missed, least))


def _within(milliseconds: float, points: Sequence[TunedPoint]) -> bool:
    times = [point.median_ms for point in points]
    return min(times) / 2 <= milliseconds <= 2 * max(times)


def _settings_text(point: TunedPoint) -> str:
    if point.documents is None:
        return "exact search"
    probes = "" if point.probes is None else f"{point.probes} probes, "
    return f"{probes}{point.documents:,} documents" + ("" if point.margin is None else " with a stop")


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "drawing a curve needs matplotlib, which is not installed: pip install 'jcb-engine[plot]'"
        ) from error
    return Figure
