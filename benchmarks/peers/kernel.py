"""Uncompressed MaxSim of one query with some documents: maxsim-cpu, PyLate's rerank and torch beside our fp32 loop.

Prediction: on two AVX2 cores fp32 products are bound by arithmetic, 128 dims x 23 query tokens at 2 x 16 multiply-adds
a cycle; a good loop and torch's product near each other, PyLate's behind by what padding and stacking cost.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import exact_scores
from benchmarks.peers.comparison import Setting, recall_of, row
from benchmarks.peers.engines import OWN, Engine, Search
from benchmarks.peers.environments import version_of
from benchmarks.peers.indexes import BuiltIndex
from benchmarks.peers.rounds import Worker, run_rounds
from jcb_engine import RaggedEmbeddings

_DOCUMENTS = (256, 1_024)
_QUERIES = 100
_BITS = 32


def compare_kernels(job: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Rows as of `peers run`, with tokens per second; recall is against numpy's scores: 1 where a library is right."""
    documents, queries = Path(job["documents"]), Path(job["queries"])
    available = len(np.load(documents / "offsets.npy")) - 1
    counts = [count for count in _DOCUMENTS if count <= available] or [available]
    searches = tuple(Search(f"{count} documents", {"documents": count}) for count in counts)
    engines = [
        Engine("maxsim-cpu", _BITS, version_of("maxsim-cpu"), "maxsim_cpu_driver.py", searches),
        Engine("pylate", _BITS, version_of("pylate"), "pylate_rerank_driver.py", searches),
        Engine("torch", _BITS, "", "torch_maxsim_driver.py", searches),
        Engine(OWN, _BITS, "", "own_maxsim_driver.py", searches),
    ]
    job = {**job, "nbits": _BITS, "searches": {search.name: search.parameters for search in searches}}
    count = min(_QUERIES, len(np.load(queries / "offsets.npy")) - 1)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:
        workers = [
            opened.enter_context(closing(Worker(BuiltIndex(engine, documents, {}), job, Path(scratch))))
            for engine in engines
        ]
        measured = run_rounds(workers, count, rounds, job["seed"])
    values, offsets = np.load(documents / "values.npy", mmap_mode="r"), np.load(documents / "offsets.npy")
    asked = RaggedEmbeddings(np.load(queries / "values.npy"), np.load(queries / "offsets.npy"))
    rows = []
    for search in searches:
        last = search.parameters["documents"]
        truth = exact_scores(asked, RaggedEmbeddings(np.array(values[: offsets[last]]), offsets[: last + 1]))
        wanted = [np.argsort(-scores, kind="stable")[: job["k"]].tolist() for scores in truth]
        for engine in engines:
            found = measured[engine.label, search.name]
            recalls = {query: recall_of(ids, wanted[query]) for query, ids in found.answers.items()}
            measured_row = row(Setting(engine.name, _BITS, search.name, recalls, found.seconds), None)
            median = measured_row["seconds"]["median"]
            rows.append(measured_row | {"version": engine.version, "tokens_per_second": int(offsets[last]) / median})
    return {"rows": rows}
