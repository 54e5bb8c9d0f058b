"""A curve as a picture: recall against the time of a query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jcb_engine.errors import InputError, MissingDependencyError
from jcb_engine.storage import TunedPoint, TuningCurve

_FORMATS = (".png", ".svg", ".pdf")
_LABELLED = 8  # more labels than these would cover each other


def check_plot(path: Path) -> None:
    """Raise what drawing to `path` would raise, before anything is measured."""
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"the plot is to be '{path.name}'; the name must end in {', '.join(_FORMATS)}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the plot is to be {path}; there is no folder {path.absolute().parent}")
    _figure_class()


def plot_curve(curve: TuningCurve, path: Path) -> None:
    """Draw points of a curve: missed documents fall from left to right, times are logarithmic. Raises InputError."""
    figure = _figure_class()(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    approximate = [point for point in curve.points if not point.is_exact]
    exact = curve.points[-1]
    axes.errorbar(
        [point.median_ms for point in approximate],
        [point.recall for point in approximate],
        yerr=[point.standard_error for point in approximate],
        fmt="o-",
        markersize=4,
        linewidth=1,
        capsize=2,
        label="approximate, with its standard error",
    )
    axes.plot([exact.median_ms], [1.0], "s", label="exact")
    axes.axhline(curve.asked_recall, linestyle=":", linewidth=1, color="grey", label=f"recall {curve.asked_recall:g}")
    for point in _labelled(approximate):
        axes.annotate(
            _settings_text(point),
            (point.median_ms, point.recall),
            textcoords="offset points",
            xytext=(6, -11),
            fontsize=7,
        )
    axes.set_xscale("log")
    axes.set_xlabel(f"median milliseconds of a query ({curve.machine}; {curve.backend})", fontsize=8)
    axes.set_ylabel(f"recall@{curve.k} of exact search")
    axes.set_title(f"{curve.query_source}; {curve.stage}, version {curve.version}", fontsize=9)
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower right", fontsize=8)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _labelled(points: list[TunedPoint]) -> list[TunedPoint]:
    step = max(1, -(-len(points) // _LABELLED))
    return points[::step]


def _settings_text(point: TunedPoint) -> str:
    documents = f"{point.documents:,} documents"
    return documents if point.probes is None else f"{point.probes} probes, {documents}"


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "drawing a curve needs matplotlib, which is not installed: pip install 'jcb-engine[plot]'"
        ) from error
    return Figure
