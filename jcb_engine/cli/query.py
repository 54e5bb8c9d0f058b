"""`jcb-search query`: one question, its hits for people or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from jcb_engine.cli.hits import print_hits
from jcb_engine.cli.numbers import count_text
from jcb_engine.cli.opening import Opening, opened
from jcb_engine.cli.running import warn

if TYPE_CHECKING:
    from jcb_engine.search import Explanation
    from jcb_engine.types import Hits


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """What the command line asked for."""

    opening: Opening
    text: str
    k: int
    exact: bool
    explain: bool
    by_parent: bool
    as_json: bool
    recall: float | None = None


def query(request: QueryRequest) -> None:
    """Search and print. Raises the errors of opening and of searching."""
    open_index = opened(request.opening)
    searcher = open_index.searcher
    began = perf_counter()
    vectors = searcher.encoder().encode_query([request.text])
    encoded = perf_counter()
    by: Literal["parent"] | None = "parent" if request.by_parent else None
    hits = searcher.search(vectors[0], request.k, exact=request.exact, by=by, recall=request.recall)
    searched = perf_counter()
    if vectors.tokens_cut is not None:
        hits = replace(hits, query_tokens_cut=int(vectors.tokens_cut[0]))
    explanations = searcher.explain_many(request.text, [hit.id for hit in hits]) if request.explain else None
    timings = {
        "import": open_index.import_seconds,
        "load": open_index.load_seconds,
        "encode": encoded - began,
        "search": searched - encoded,
    }
    if hits.query_tokens_cut:
        warn(f"the query is longer than the encoder takes: {count_text(hits.query_tokens_cut, 'token')} cut off")
    if request.as_json:
        print(json.dumps(_json(request.text, hits, explanations, timings), ensure_ascii=False, indent=2))
    else:
        print_hits(hits, explanations, search_seconds=timings["search"])


def _json(text: str, hits: Hits, explanations: list[Explanation] | None, timings: dict[str, float]) -> dict[str, Any]:
    found: list[dict[str, Any]] = [asdict(hit) for hit in hits]
    for hit, explanation in zip(found, explanations or [], strict=False):
        hit["explanation"] = [asdict(match) for match in explanation.matches]
    return {
        "query": text,
        "exact": hits.exact,
        "recall": hits.recall,
        "version": hits.version,
        "backend": hits.backend,
        "query_tokens_cut": hits.query_tokens_cut,
        "hits": found,
        "timings": {name: round(seconds, 6) for name, seconds in timings.items()},
    }
