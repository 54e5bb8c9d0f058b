"""The law of cost against corpus size: seconds = a * documents ** b, by least squares of the logarithms.

python -m benchmarks.scale_law RESULTS/scale.json RESULTS/scale-1m.json --picture RESULTS/scale.png
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Times

_CURVES = {
    "default search": lambda row: _median(row["default"]),
    "cheapest at recall .95": lambda row: _median(row["cheapest_at_0.95"]),
    "exact search": lambda row: _median(row["exact"]),
    "build": lambda row: row["build"]["seconds"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="result files of scale.py, taken together")
    parser.add_argument("--picture", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [row for path in arguments.results for row in json.loads(path.read_text())["figures"]["sizes"]]
    rows.sort(key=lambda row: int(row["documents"]))
    fitted = law(rows)
    print(json.dumps(fitted, indent=2))
    draw(rows, fitted, arguments.picture)


def _median(figures: dict[str, Any] | None) -> float:
    """Of a row as it was measured, or as a result file has it; NaN where no setting reached the recall."""
    if figures is None:
        return math.nan
    seconds = figures["seconds"]
    return float(seconds.median if isinstance(seconds, Times) else seconds["median"])


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
    return {name: [point for point in found if not math.isnan(point[1])] for name, found in points.items()}


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


if __name__ == "__main__":
    main()
