"""Codes in layers: can the upper bits of a 4-bit code be scored first, and the rest for survivors only?

    python -m benchmarks.codec_layers ../shared/data/scifact

The upper bits of the codec's own Lloyd-Max codes, each group of levels replaced by its mean, are a coarser code; its
first bit is the sign. Shown: what such a code loses against the true code of as many bits, and which share of the exact
4-bit top 10 is among the best n documents by coarse score (every document scored, as in an exhaustive search). And what
entropy coding of ids and codes would save.

Seen before the codec tried several sizes (in the 256 best uncompressed documents of each query): by the upper 2 bits
the best 32 documents hold all of the 4-bit top 10, for every one of 300 queries and 300 passages; by the first bit the
best 64. As a code of its own, its length restored, the upper 2 bits have recall .943 beside .947 of the 2-bit code.
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from benchmarks.codec import BACKEND, BLOCK, MODEL
from benchmarks.codec_variants import K, Study, prepared
from benchmarks.harness import write_result
from jcb_engine import RaggedEmbeddings
from jcb_engine.codec.levels import gaussian_levels
from jcb_engine.kernels.reference import unpack_codes

KEPT = (10, 16, 24, 32, 48, 64, 96, 128, 256)


def coarse_levels(fine: int, coarse: int) -> np.ndarray:
    """[2**fine]: for each fine code, the mean of a unit Gaussian over the cell of its `coarse` upper bits."""
    cutoffs = gaussian_levels(fine)[0].astype(np.float64)
    group = 2 ** (fine - coarse)
    edges = [-math.inf, *cutoffs[group - 1 :: group], math.inf]
    normal = NormalDist()
    density = [0.0, *(normal.pdf(edge) for edge in edges[1:-1]), 0.0]
    mass = np.diff([0.0, *(normal.cdf(edge) for edge in edges[1:-1]), 1.0])
    return np.repeat(-np.diff(density) / mass, group).astype(np.float32)


class Layers:
    """4-bit (or `fine`-bit) codes of all tokens, decoded with any table of levels."""

    def __init__(self, study: Study, fine: int) -> None:
        self.study, self.fine = study, fine
        self.arrays = study.compressed.arrays(fine)
        self.tokens = BACKEND.quantize(study.rotated, study.compressed.ids, self.arrays)

    def decoded(self, levels: np.ndarray, own_norm: bool) -> np.ndarray:
        """Vectors [T, D]. own_norm: of unit length again; else with the norm stored for the fine code."""
        arrays, decoded = replace(self.arrays, levels=levels), np.empty_like(self.study.rotated)
        for start in range(0, len(decoded), BLOCK):
            rows = slice(start, start + BLOCK)
            tokens = [array[rows] for array in self.tokens]
            decoded[rows] = BACKEND.dequantize(self.study.compressed.ids[rows], *tokens, arrays)
            if own_norm:
                decoded[rows] /= np.linalg.norm(decoded[rows], axis=1, keepdims=True)
        return decoded


def measure(study: Study, fine: int) -> dict[str, Any]:
    layers = Layers(study, fine)
    true_levels = gaussian_levels(fine)[1]
    tables = {"fine": true_levels}
    for coarse in (bits for bits in (2, 1) if bits < fine):
        tables[f"upper {coarse} bits"] = coarse_levels(fine, coarse)
    # At 1 bit the codec lengthens sigma by |r|^2 / <r, r^>, which is near pi / 2 for a Gaussian: here as a constant.
    tables["upper 1 bits, lengthened"] = coarse_levels(fine, 1) * np.float32(math.pi / 2)
    queries = study.sets["queries"]
    scores, figures = {}, {}
    for name, table in tables.items():
        decoded = layers.decoded(table, own_norm=False)
        error = _error(study.rotated, decoded)
        documents = RaggedEmbeddings(decoded, study.offsets)
        scores[name] = BACKEND.maxsim(
            queries.queries.values, queries.queries.offsets, documents.values, documents.offsets
        )
        order = np.argsort(-scores[name], axis=1, kind="stable")
        fine_best = np.argsort(-scores["fine"], axis=1, kind="stable")[:, :K]
        unit_error = error if name == "fine" else _error(study.rotated, layers.decoded(table, own_norm=True))
        figures[name] = {
            "squared_error_stored_norm": error,
            "squared_error_own_norm": unit_error,
            "recall_at_10_of_uncompressed": _share(order[:, :K], queries.wanted),
            "share_of_fine_top_10_in_best": {n: _share(order[:, :n], fine_best) for n in KEPT},
            "queries_with_all_of_fine_top_10_in_best": {n: _all(order[:, :n], fine_best) for n in KEPT},
        }
        print(fine, name, figures[name], flush=True)
    return figures


def _error(values: np.ndarray, decoded: np.ndarray) -> float:
    total = 0.0
    for start in range(0, len(values), BLOCK):
        total += float(np.square(values[start : start + BLOCK] - decoded[start : start + BLOCK]).sum(dtype=np.float64))
    return total / len(values)


def _share(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean([np.isin(w, f).mean() for f, w in zip(found, wanted, strict=True)]))


def _all(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean([np.isin(w, f).all() for f, w in zip(found, wanted, strict=True)]))


def entropies(study: Study) -> dict[str, float]:
    """Bits per token that an ideal coder would need for ids, and per dimension for codes."""
    ids, offsets = study.compressed.ids, study.offsets
    shares = np.bincount(ids) / len(ids)
    figures = {"ids_bits": _entropy(shares)}
    # MaxSim does not ask for the order of tokens: sorted ids of a document are a multiset.
    saved = 0.0
    for first, last in itertools.pairwise(offsets):
        counts = np.unique(ids[first:last], return_counts=True)[1]
        saved += math.lgamma(last - first + 1) - sum(math.lgamma(count + 1) for count in counts)
    figures["ids_bits_sorted_in_documents"] = figures["ids_bits"] - saved / math.log(2) / len(ids)
    rows = slice(0, len(ids), 20)
    for nbits in (1, 2, 4, 8):
        arrays = study.compressed.arrays(nbits)
        codes = BACKEND.quantize(np.ascontiguousarray(study.rotated[rows]), np.ascontiguousarray(ids[rows]), arrays)[0]
        counts = np.bincount(unpack_codes(codes, arrays.dim, nbits).ravel(), minlength=2**nbits)
        figures[f"code_bits_per_dimension_of_{nbits}"] = _entropy(counts / counts.sum())
    return figures


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    study = prepared(arguments.folder, arguments.seed)
    settings = {"collection": arguments.folder.name, "model": MODEL, "dim": 128, "seed": arguments.seed}
    figures = {"entropy": entropies(study), "4_bits": measure(study, 4), "2_bits": measure(study, 2)}
    write_result(f"codec-layers-{arguments.folder.name}", settings, figures)


if __name__ == "__main__":
    main()
