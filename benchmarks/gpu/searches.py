"""Seconds that whole searches on a GPU are expected to take: predictions by part, of which model.py prints the sums.

Two sums of each. The bound: work at the rates that model.py predicts, and what starting and ending a kernel inside a
graph was measured to take on an H100, 1.3 us (B. Spector et al., "Look Ma, No Bubbles", May 2025; of kernels that do
nothing). With waits: what a kernel waits for besides, where nothing else runs meanwhile; that is assumed, and so are
the copies' times. Nothing of it was run here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jcb_engine.kernels.placement import BUS_BYTES_PER_SECOND

DOCUMENT_TOKENS = 130
PADDING = 1.06  # whole tiles over tokens at that length
LAUNCH_SECONDS = 1.3e-6
WAIT_SECONDS = 0.6e-6  # from a kernel's first load to data, twice: what it begins with says what comes next
COPY_SECONDS = 2e-6  # of some kilobytes, to or from the host
PASS_SECONDS = 0.35e-6  # of a block's pass over scores, beside the scores: zeros, three barriers, sums of the bins

SCANNED_TOKENS, SCANNED_QUERIES = 10_000_000, 64
RESCORED, FP32_OPERATIONS = 400, 20e12  # documents that fast scores leave to be scored exactly; a third of the peak
# csrc/cuda/scan.cu: queries, centroids, scores, three passes of digits, the best, exact scores, what reaches, exact
# scores; and zeros.
SCAN_LAUNCHES = 11
# csrc/cuda/probe.cu: queries, centroids, probes, postings, two passes of digits, the pool, MaxSim of centroids, the
# best, fast scores, the best, exact scores, what reaches, exact scores; and zeros.
PROBE_LAUNCHES = 15
COPIES = 2
PROBES, POOL, SCORED = 16, 10_240, 4_096
CENTROIDS, RESCORED_CANDIDATES, POSTINGS_SECONDS = 16_384, 80, 1e-6  # the last: a round of postings, from memory
# Instructions of a warp for 32 scores, counted in the machine code of reach_few: a pass that counts all digits, one
# that counts few, and collecting.
ALL_DIGITS, FEW_DIGITS, COLLECTING = 15, 10, 18
SELECTING = ALL_DIGITS + 2 * FEW_DIGITS + COLLECTING
CLOCKS, SCHEDULERS = 1.755e9, 4
# Of a warp: 128 dimensions with 16 products and 5 loads each, and four times it waits for codes and centroids.
EXACT_TILE_SECONDS = 2_700 / CLOCKS + 4 * WAIT_SECONDS
EXACT_PARTS = 8  # blocks that share a document
CANDIDATES, CANDIDATE_BYTES = 4096, 40  # a token of 2 bits and 128 dimensions, as tiles


@dataclass(frozen=True)
class Rates:
    """Of a GPU: Gtoken/s of fast scores for one query, and for many, times queries; bytes/s of memory and of L2."""

    one: float
    many: float
    memory: float
    l2: float


def scan(rates: Rates) -> dict[str, float]:
    """The best of 10 M tokens at 2 bits: seconds of one query, and queries/s of a batch of 64."""
    rescoring = RESCORED * DOCUMENT_TOKENS * 32 * 128 * 2 / FP32_OPERATIONS
    launches = SCAN_LAUNCHES * (LAUNCH_SECONDS + WAIT_SECONDS) + COPIES * COPY_SECONDS
    one, many = (SCANNED_TOKENS / rate / 1e9 for rate in (rates.one, rates.many))
    return {
        "seconds_1_query": one + rescoring + launches,
        "queries_per_second_64": SCANNED_QUERIES / (SCANNED_QUERIES * (many + rescoring) + launches),
    }


def probe(rates: Rates) -> dict[str, Any]:
    """One query's search among the candidates that its centroids find, of the same tokens."""
    entries = 32 * PROBES * SCANNED_TOKENS / CENTROIDS
    narrowed = POOL * DOCUMENT_TOKENS * PADDING
    tiles = DOCUMENT_TOKENS * PADDING / 16
    work = {
        # Centroids in fp16; their scores as bytes and as fp32, of which four passes find the best.
        "centroids": CENTROIDS * (256 / rates.memory + 32 * (1 + 4 + 4 * 4) / rates.l2),
        "postings": entries * 4 / rates.memory + PROBES / 4 * POSTINGS_SECONDS,
        "pool": SCANNED_TOKENS / DOCUMENT_TOKENS * 4 * 3 / rates.l2,
        "narrowing": narrowed * (8 / rates.memory + 32 / rates.l2),
        "fast_scores": SCORED * DOCUMENT_TOKENS / rates.one / 1e9,
        "exact_scores": RESCORED_CANDIDATES * DOCUMENT_TOKENS * 32 * 128 * 2 / FP32_OPERATIONS,
        "launches": PROBE_LAUNCHES * LAUNCH_SECONDS,
    }
    waits = {
        "kernels": PROBE_LAUNCHES * WAIT_SECONDS,
        "copies": COPIES * COPY_SECONDS,
        "probes": _selecting(CENTROIDS),  # a block a query token
        "pool": 3 * PASS_SECONDS,  # many blocks
        "kept": _selecting(POOL) + 2 * WAIT_SECONDS,  # and laid out
        "first": _selecting(SCORED),
        "reaching": PASS_SECONDS + _block(SCORED, COLLECTING),
        "shares": 2 * WAIT_SECONDS,  # of the warps that score fast: four steps of a search
        # Twice. Eight blocks share a document where there are few, and wait for each other.
        "exact_scores": 2 * (tiles / EXACT_PARTS * EXACT_TILE_SECONDS + WAIT_SECONDS),
    }
    bound, waiting = sum(work.values()), sum(waits.values())
    return {"work": work, "waits": waits, "seconds_bound": bound, "seconds_with_waits": bound + waiting}


def candidates_in_host_memory() -> float:
    """Seconds that the codes of 4,096 documents take over the bus."""
    return CANDIDATES * DOCUMENT_TOKENS * PADDING * CANDIDATE_BYTES / BUS_BYTES_PER_SECOND


def _selecting(scores: int) -> float:
    return _block(scores, SELECTING) + 4 * PASS_SECONDS


def _block(scores: int, instructions: float) -> float:
    """Seconds in which a block issues so many instructions for each 32 scores."""
    return scores / 32 * instructions / SCHEDULERS / CLOCKS
