"""Other projects' kernels on the vectors of measure.py, in the same run: speed, and beside it how far scores are off.

Each is skipped by name where it cannot be imported. Written by what their released sources say (flash-maxsim 0.3.0,
late-interaction-kernels 0.4.5, fast-plaid 1.4.6); none of them was run here.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.gpu.skipping import SkippedError
from benchmarks.gpu.store import expected_score, random_queries

CHECKED = 40  # documents whose scores are compared with float64
K = 10
PLAID_BITS = 4  # fast-plaid's default
_QUERIES = 20  # of which recall is measured
Times = Callable[[Callable[[], object]], list[float]]


def flash_maxsim(codec: Any, segment: Any, times: Times) -> dict[str, Any]:
    """One query against all documents, packed one after the other, in fp16."""
    score = _imported("flash-maxsim", "flash_maxsim").flash_maxsim_packed
    query, vectors, offsets = _on_gpu(segment)
    longest = int(np.diff(segment.doc_offsets).max())
    return _rated("flash-maxsim", codec, segment, times, lambda: score(query, vectors, offsets, longest))


def late_interaction_kernels(codec: Any, segment: Any, times: Times) -> dict[str, Any]:
    """As above, by `maxsim_varlen`."""
    score = _imported("late-interaction-kernels", "late_interaction_kernels").maxsim_varlen
    query, vectors, offsets = _on_gpu(segment)
    of_queries = offsets.new_tensor([0, len(query)])
    lengths = (len(query), int(np.diff(segment.doc_offsets).max()))
    return _rated(
        "late-interaction-kernels", codec, segment, times,
        lambda: score(query, vectors, of_queries, offsets, *lengths),
    )  # fmt: skip


def fast_plaid(codec: Any, segment: Any, times: Times) -> dict[str, Any]:
    """A whole search with its own index and defaults, one query at a time; recall of the ten best by float64 scores."""
    engine = _imported("fast-plaid", "fast_plaid.search").FastPlaid
    import torch

    documents = np.split(segment.codes.astype(np.float32), segment.doc_offsets[1:-1])
    queries, offsets = random_queries(_QUERIES)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        index = engine(folder, device="cuda")
        index.create([torch.from_numpy(document) for document in documents], nbits=PLAID_BITS, seed=0)
        for first, last in itertools.pairwise(offsets):
            query = torch.from_numpy(queries[first:last]).unsqueeze(0)
            found.append([number for number, _ in index.search(query, top_k=K, show_progress=False)[0]])
        one = torch.from_numpy(queries[: offsets[1]]).unsqueeze(0)
        seconds = statistics.median(times(lambda: index.search(one, top_k=K, show_progress=False)))
    shares = []
    for first, last, own in zip(offsets[:-1], offsets[1:], found, strict=True):
        scores = [expected_score(codec, segment, number, queries[first:last]) for number in range(len(documents))]
        shares.append(len(set(own) & set(np.argsort(-np.array(scores))[:K].tolist())) / K)
    return {
        "version": version("fast-plaid"),
        "seconds_1_query": seconds,
        "recall_at_10": statistics.mean(shares),
        "tokens": len(segment.codes),
    }


PEERS = {"flash-maxsim": flash_maxsim, "late-interaction-kernels": late_interaction_kernels, "fast-plaid": fast_plaid}


def _imported(project: str, module: str) -> Any:
    """SkippedError where it is not installed or finds no GPU."""
    try:
        import torch

        made = import_module(module)
    except ImportError as error:
        raise SkippedError(f"{project} cannot be imported ({error})") from error
    if not torch.cuda.is_available():
        raise SkippedError(f"{project} is installed, but there is no GPU")
    return made


def _on_gpu(segment: Any) -> tuple[Any, Any, Any]:
    """A query [32, D] and vectors [T, D] in fp16, and offsets [N + 1] int32."""
    import torch

    query, vectors = torch.from_numpy(random_queries(1)[0]).half().cuda(), torch.from_numpy(segment.codes).cuda()
    return query, vectors, torch.from_numpy(segment.doc_offsets.astype(np.int32)).cuda()


def _rated(project: str, codec: Any, segment: Any, times: Times, score: Callable[[], Any]) -> dict[str, Any]:
    """Speed of scoring all documents, and the largest difference from float64 scores of the query as given."""
    scores = score().flatten().float().cpu().numpy()
    query = random_queries(1)[0]
    chosen = np.random.default_rng(2).integers(len(scores), size=CHECKED)
    errors = [abs(float(scores[number]) - expected_score(codec, segment, number, query)) for number in chosen]
    seconds = statistics.median(times(score))
    return {
        "version": version(project),
        "seconds": seconds,
        "gtokens_per_second_times_queries": len(segment.codes) / seconds / 1e9,
        "score_error": max(errors),
    }
