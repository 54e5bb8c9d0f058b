"""The law of cost against corpus size: seconds = a * documents ** b, by least squares of the logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_CURVES = {
    "default search": lambda row: row["default"]["seconds"].median,
    "cheapest at recall .95": lambda row: (row["cheapest_at_0.95"] or {}).get("seconds", _Missing).median,
    "exact search": lambda row: row["exact"]["seconds"].median,
    "build": lambda row: row["build"]["seconds"],
}


class _Missing:
    median = float("nan")


def law(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Per kind of work, a and b over the sizes that have it, and the largest factor that a size is off the line by.

    Empty with fewer than two sizes.
    """
    found = {}
    for name, points in _points(rows).items():
        if len(points) < 2:
            continue
        sizes, seconds = np.log(np.array(points)).T
        b, log_a = np.polyfit(sizes, seconds, 1)
        off = np.abs(seconds - (log_a + b * sizes)).max()
        found[name] = {"a": float(np.exp(log_a)), "b": float(b), "off_by_factor": float(np.exp(off))}
    return found


def _points(rows: Sequence[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """(documents, seconds) per kind of work."""
    points = {name: [(row["documents"], curve(row)) for row in rows] for name, curve in _CURVES.items()}
    return {name: [point for point in found if point[1] == point[1]] for name, found in points.items()}


def draw(rows: Sequence[dict[str, Any]], fitted: dict[str, Any], path: Path) -> None:
    """A log-log plot of the measured sizes and the lines through them. Says so where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        print("no picture: matplotlib is not installed (pip install matplotlib)")
        return
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (search, build) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for name, points in _points(rows).items():
        axes, unit = (build, 1.0) if name == "build" else (search, 1_000.0)
        sizes, seconds = np.array(points).T if points else (np.zeros(0), np.zeros(0))
        label = name
        if name in fitted:
            a, b = fitted[name]["a"], fitted[name]["b"]
            label = f"{name}: N^{b:.2f}"
            axes.plot(sizes, unit * a * sizes**b, color="0.7", linewidth=1, zorder=1)
        axes.plot(sizes, unit * seconds, "o", label=label)
    for axes, title, unit_name in ((search, "search, median", "milliseconds"), (build, "build", "seconds")):
        axes.set(xscale="log", yscale="log", xlabel="documents", ylabel=unit_name, title=title)
        axes.grid(visible=True, which="both", color="0.9")
        axes.legend()
    figure.savefig(path, dpi=130)
    print(f"wrote {path.name}")
