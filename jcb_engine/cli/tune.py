"""`jcb-index tune`: recall of many settings measured, the curve published, drawn if asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jcb_engine.cli.numbers import count_text
from jcb_engine.cli.opening import Opening
from jcb_engine.cli.queries import read_queries
from jcb_engine.cli.running import printable, warn
from jcb_engine.indexing.readers.streams import STDIN
from jcb_engine.search import Searcher
from jcb_engine.search.tuning.choice import CONFIDENCE, cheapest
from jcb_engine.search.tuning.plot import check_plot, plot_curve

if TYPE_CHECKING:
    from jcb_engine.storage import TunedPoint, TuningCurve

_FEW_QUERIES = 100


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """What the command line asked for. queries: None takes passages of the index."""

    opening: Opening
    recall: float
    k: int
    queries: str | None
    format: str | None
    sample: int
    seed: int
    plot: Path | None
    as_json: bool


def tune(request: TuneRequest) -> None:
    """Measure, publish, print, draw. What can be refused is refused before anything is measured."""
    if request.plot is not None:
        check_plot(request.plot)
    texts, source = _queries(request)
    opening = request.opening
    with (
        Searcher.open(
            opening.path, encoder=opening.model, backend=opening.backend, threads=opening.threads, device=opening.device
        ) as searcher,
        _steps() as tell,
    ):
        curve = searcher.tune(
            texts,
            recall=request.recall,
            k=request.k,
            sample=request.sample,
            seed=request.seed,
            query_source=source,
            tell=tell,
        )
    if curve.queries < _FEW_QUERIES and len(curve.points) > 1:
        warn(f"{count_text(curve.queries, 'query', 'queries')} can assure little; some hundred are better")
    chosen = cheapest(curve.points, request.recall)
    if request.as_json:
        print(json.dumps(_json(curve, chosen), ensure_ascii=False, indent=2))
    else:
        for line in _lines(curve, chosen):
            print(line)
    if request.plot is not None:
        plot_curve(curve, request.plot)


def _queries(request: TuneRequest) -> tuple[list[str] | None, str | None]:
    """The texts of the queries and what the record calls them."""
    if request.queries is None:
        return None, None
    texts = [query.text for query in read_queries(request.queries, request.format)]
    return texts, "standard input" if request.queries == STDIN else f"file {Path(request.queries).name}"


@contextmanager
def _steps() -> Iterator[Any]:
    """Says on a terminal what is done just now; each line takes the place of the one before."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return

    def tell(step: str) -> None:
        print(f"\r\x1b[K{step}", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _json(curve: TuningCurve, chosen: TunedPoint) -> dict[str, Any]:
    return {**curve.to_json(), "chosen": curve.points.index(chosen)}


def _lines(curve: TuningCurve, chosen: TunedPoint) -> list[str]:
    lines = [
        f"recall@{curve.k} against exact search: {printable(curve.query_source)}; version {curve.version}",
        f"  {'probes':>6} {'documents':>9} {'recall':>8} {'+-':>6} {'tokens of work':>14} {'median':>10}",
    ]
    for point in curve.points:
        probes = "" if point.probes is None else f"{point.probes:,}"
        documents = "all" if point.documents is None else f"{point.documents:,}"
        error = "" if point.is_exact else f"{point.standard_error:.4f}"
        lines.append(
            f"  {probes:>6} {documents:>9} {point.recall:>8.4f} {error:>6} {point.cost:>14,.0f} "
            f"{point.median_ms:>7.2f} ms{'' if point.margin is None else ' stop'}{'  <-' if point is chosen else ''}"
        )
    if chosen.is_exact:
        verdict = f"no setting is sure to reach {curve.asked_recall:g}: recall={curve.asked_recall:g} is exact search"
    else:
        verdict = (
            f"<- the cheapest that reaches {curve.asked_recall:g} with {CONFIDENCE:g} standard errors to spare; "
            f"search uses it for recall={curve.asked_recall:g}"
        )
    return [*lines, verdict, f"measured on {printable(curve.machine)}; {printable(curve.backend)}"]
