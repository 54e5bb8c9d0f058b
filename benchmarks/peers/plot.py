"""Recall against latency of all engines and bits, one PNG per collection; drawn from the result file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS
from benchmarks.peers.comparison import pareto
from benchmarks.peers.engines import OWN

_COLOURS = {1: "#7b3294", 2: "#d95f02", 4: "#1b7837"}
_MARKERS = {"fast-plaid": "s", "xtr-warp-rs": "^", "pylate": "D", "colbert-ai": "v"}
_OTHER_MARKERS = "vP*X"
# Where the setting is written, in points: engines that come near each other have different sides.
_WORDS = {"fast-plaid": ((0, 8), "center"), "xtr-warp-rs": ((-8, -3), "right"), "colbert-ai": ((0, -14), "center")}


def check_matplotlib() -> None:
    """SystemExit before anything is measured, rather than after."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SystemExit("the plot needs matplotlib: pip install '.[dev]'") from error


def draw(result: Path) -> Path:
    """The plot beside a result file of `peers run`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    record = json.loads(result.read_text())
    rows, settings = record["figures"]["rows"], record["settings"]
    figure, axes = pyplot.subplots(figsize=(9, 5.5), dpi=130)
    for nbits in sorted({row["nbits"] for row in rows if row["engine"] == OWN}):
        _draw_own(axes, [row for row in rows if row["engine"] == OWN and row["nbits"] == nbits], nbits)
    others = [name for name in dict.fromkeys(row["engine"] for row in rows) if name != OWN]
    unknown = [name for name in others if name not in _MARKERS]
    markers = _MARKERS | dict(zip(unknown, _OTHER_MARKERS, strict=False))
    for row in rows:
        if row["engine"] != OWN:
            _draw_peer(axes, row, markers[row["engine"]])
    axes.set_xscale("log")
    axes.margins(x=0.12)  # for what is written beside the points
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(f"median ms for one query, {settings['threads']} threads (log)")
    axes.set_ylabel("recall@10 of exact uncompressed MaxSim")
    axes.set_title(
        f"{settings['collection']}: {settings['documents']:,} documents, {settings['tokens']:,} tokens, "
        f"{settings['query_tokens_mean']:.0f} query tokens, {settings['centroids']:,} centroids",
        fontsize=10,
    )
    axes.grid(which="both", alpha=0.25)
    axes.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    path = RESULTS / f"{result.stem}.png"
    figure.savefig(path)
    pyplot.close(figure)
    return path


def _draw_own(axes: Any, rows: list[dict[str, Any]], nbits: int) -> None:
    points = [(row["seconds"]["median"] * 1e3, row["recall_at_10"]) for row in rows]
    axes.scatter(*zip(*points, strict=True), s=9, color=_COLOURS[nbits], alpha=0.35)
    front = pareto(points)
    axes.plot(*zip(*front, strict=True), "-o", ms=4, color=_COLOURS[nbits], label=f"{OWN}, {nbits} bits")


def _draw_peer(axes: Any, row: dict[str, Any], marker: str) -> None:
    point = row["seconds"]["median"] * 1e3, row["recall_at_10"]
    label = f"{row['engine']}, {row['nbits']} bits"
    if label in axes.get_legend_handles_labels()[1]:
        label = "_"  # in the legend once
    axes.scatter(
        *point,
        s=60,
        marker=marker,
        color=_COLOURS[row["nbits"]],
        edgecolor="black",
        label=label,
    )
    place, alignment = _WORDS.get(row["engine"], ((8, -3), "left"))
    axes.annotate(row["search"], point, fontsize=7, ha=alignment, xytext=place, textcoords="offset points")
