"""Other codes for the same bytes: does one of them give more recall than the codec has?

    python -m benchmarks.codec_variants ../shared/data/scifact

Same centroids, assignments and rotation for all. Two sets of queries: the collection's own, and passages cut to 24
tokens (encoded as queries; the passage itself is left out of its ranking), which make errors smaller. A variant is
scored on the POOL documents that are best without compression, decoded vectors kept in fp16; its recall@10 is given
with its difference from the present codec on the same queries and the standard error of that difference.

What the codec has was chosen so (128 dims, 8,192 centroids, 300 queries and 300 passages). 1 bit: signs for the angle
after scaling, with the projection, have recall .902 / .915 beside .886 / .908 of the residual's signs, and 12 % less
error; the least error of all (plain sigma, -23 %) has .884 / .900, RaBitQ's length on top of it .856 / .872. 2 bits:
several sizes lower the error by 1 % and change recall by -.001 +- .002 / -.004 +- .002: not taken. 4 bits: several
sizes lower the error by 15 % and the errors of scores within a query by 11 %; recall stays .987 within the noise
(-.001 +- .0025 / -.002 +- .002). One-byte scalars add less than .1 % of error up to 4 bits, and 17 % at 8.

All variants once more in the kept run: none beats the codec beyond twice the noise on both sets of queries. The nearest
is RaBitQ's length on the projected sigma, 1 bit: +.009 +- .004 / +.002 +- .002.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.codec import BACKEND, MODEL, Compressed
from benchmarks.corpora import Collection, embeddings, load_beir
from benchmarks.harness import write_result
from jcb_engine import Encoder, RaggedEmbeddings
from jcb_engine.codec.levels import gaussian_levels
from jcb_engine.kernels import RAW_BITS, CodecArrays, Lists, SegmentArrays
from jcb_engine.kernels.interface import SIGMA_FACTORS, SIGN_ROUNDS

K = 10
POOL = 256
PASSAGES = 1_000
PASSAGE_TOKENS = 24
BLOCK = 4_096  # rows at a time: temporaries stay in the cache
Tensor = torch.Tensor


# -- how a token is coded: units and base [B, D] (v and c), cutoffs, levels -> decoded [B, D] --------------------------
Variant = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=1, keepdim=True)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True)


def _own_size(residual: Tensor) -> Tensor:
    return residual.norm(dim=1, keepdim=True) / residual.shape[1] ** 0.5


def _code(residual: Tensor, sigma: Tensor, cutoffs: Tensor, levels: Tensor) -> Tensor:
    if len(levels) == 2:
        return torch.where(residual > 0, levels[1], levels[0])
    return levels[torch.bucketize(residual / sigma, cutoffs)]


def _projected(residual: Tensor, code: Tensor) -> Tensor:
    """sigma with <r, r^> = <r, r>; 0 for a residual of zero (tokens that are alone on their centroid)."""
    return (_dot(residual, residual) / _dot(residual, code)).nan_to_num(0.0)


def _least_squares(residual: Tensor, code: Tensor) -> Tensor:
    """sigma with the least |r - r^|^2."""
    return _dot(residual, code) / _dot(code, code)


def plain(units: Tensor, base: Tensor, cutoffs: Tensor, levels: Tensor) -> Tensor:
    """sigma is the residual's own size."""
    residual = units - base
    sigma = _own_size(residual)
    return _unit(base + sigma * _code(residual, sigma, cutoffs, levels))


def projected(units: Tensor, base: Tensor, cutoffs: Tensor, levels: Tensor) -> Tensor:
    """sigma keeps <r, r^> = <r, r>; codes are those of the residual."""
    residual = units - base
    code = _code(residual, _own_size(residual), cutoffs, levels)
    return _unit(base + _projected(residual, code) * code)


def least_squares(rounds: int) -> Variant:
    """sigma by least squares, given the codes; the codes chosen again for it `rounds` times."""

    def variant(units: Tensor, base: Tensor, cutoffs: Tensor, levels: Tensor) -> Tensor:
        residual = units - base
        code = _code(residual, _own_size(residual), cutoffs, levels)
        for _ in range(rounds):
            code = _code(residual, _least_squares(residual, code), cutoffs, levels)
        return _unit(base + _least_squares(residual, code) * code)

    return variant


def angle(rounds: int, project: bool = False) -> Variant:
    """Codes and sigma for the smallest angle between v and v^: the residual of v in units of v^'s own length.

    v ~ n (c + sigma w) is least far for n = <v, u> / |u|^2, u = c + sigma w; then v / n - c is what sigma w should be.
    project: at the end sigma keeps <r, r^> = <r, r> instead.
    """

    def variant(units: Tensor, base: Tensor, cutoffs: Tensor, levels: Tensor) -> Tensor:
        residual = units - base
        code = _code(residual, _own_size(residual), cutoffs, levels)
        sigma = _projected(residual, code) if project else _least_squares(residual, code)
        for _ in range(rounds):
            whole = base + sigma * code
            target = units * _dot(whole, whole) / _dot(units, whole) - base
            code = _code(target, _least_squares(target, code), cutoffs, levels)
            sigma = _projected(residual, code) if project else _least_squares(target, code)
        return _unit(base + sigma * code)

    return variant


def projected_after(rounds: int) -> Variant:
    """Codes as in least_squares(rounds), then sigma keeps <r, r^> = <r, r>."""

    def variant(units: Tensor, base: Tensor, cutoffs: Tensor, levels: Tensor) -> Tensor:
        residual = units - base
        code = _code(residual, _own_size(residual), cutoffs, levels)
        for _ in range(rounds):
            code = _code(residual, _least_squares(residual, code), cutoffs, levels)
        return _unit(base + _projected(residual, code) * code)

    return variant


def unbiased(of: Variant) -> Variant:
    """The length of RaBitQ's estimate: <v, v^> = <v, v>, where the codec keeps |v^| = |v|."""

    def variant(units: Tensor, base: Tensor, cutoffs: Tensor, levels: Tensor) -> Tensor:
        decoded = of(units, base, cutoffs, levels)
        return decoded / _dot(units, decoded)

    return variant


def searched(factors: tuple[float, ...], of_sigma: Callable[[Tensor, Tensor], Tensor]) -> Variant:
    """Codes tried for several multiples of the residual's own size; the least |r - r^| with a fitted sigma wins."""

    def variant(units: Tensor, base: Tensor, cutoffs: Tensor, levels: Tensor) -> Tensor:
        residual = units - base
        best, best_gain = torch.zeros_like(units), torch.full((len(units), 1), -1.0)
        for factor in factors:
            code = _code(residual, factor * _own_size(residual), cutoffs, levels)
            gain = _dot(residual, code).square() / _dot(code, code)
            best = torch.where(gain > best_gain, base + of_sigma(residual, code) * code, best)
            best_gain = torch.maximum(gain, best_gain)
        return _unit(best)

    return variant


def one_byte_scalars(of_sigma: Callable[[Tensor, Tensor], Tensor] | None) -> Variant:
    """sigma and norm each in one byte, on a logarithmic scale between bounds that hold nearly all of them."""

    def variant(units: Tensor, base: Tensor, cutoffs: Tensor, levels: Tensor) -> Tensor:
        residual = units - base
        code = _code(residual, _own_size(residual), cutoffs, levels)
        sigma = _own_size(residual) if of_sigma is None else of_sigma(residual, code)
        coarse = _in_a_byte(sigma * residual.shape[1] ** 0.5, 0.1, 1.6) / residual.shape[1] ** 0.5
        whole = base + coarse * code
        return _in_a_byte(1 / whole.norm(dim=1, keepdim=True), 0.6, 1.4) * whole

    return variant


def _in_a_byte(values: Tensor, low: float, high: float) -> Tensor:
    step = np.log(high / low) / 255
    steps = (torch.log(values / low) / step).round().clamp(0, 255)
    return low * torch.exp(steps * step)


_PRESENT: dict[int, tuple[str, Variant]] = {
    1: ("present: angle, 2 rounds, projected", angle(SIGN_ROUNDS, project=True)),
    2: ("present: plain", plain),
    4: ("present: several sizes", searched(SIGMA_FACTORS[4], _least_squares)),
    8: ("present: several sizes", searched(SIGMA_FACTORS[8], _least_squares)),
}
_SEARCHED = tuple(0.7 + 0.05 * step for step in range(13))


def variants(nbits: int) -> dict[str, Variant]:
    """Name -> variant; the first is what the codec does now."""
    name, present = _PRESENT[nbits]
    found: dict[str, Variant] = {name: present, "plain": plain, "projected": projected}
    found["unbiased present"] = unbiased(present)
    found["one-byte scalars"] = one_byte_scalars(_projected if nbits == 1 else None)
    found["angle, 1 round"] = angle(1)
    found["angle, 3 rounds"] = angle(3)
    found["unbiased plain"] = unbiased(plain)
    if nbits == 1:
        found["least squares"] = least_squares(0)
        found["unbiased projected"] = unbiased(projected)
        found["unbiased angle, 2 rounds"] = unbiased(angle(2))
        return found
    found["angle, 2 rounds, projected"] = angle(2, project=True)
    found["least squares, same codes"] = least_squares(0)
    found["least squares, 1 round"] = least_squares(1)
    found["least squares, 2 rounds"] = least_squares(2)
    found["projected after 2 rounds"] = projected_after(2)
    found["13 scales, least squares"] = searched(_SEARCHED, _least_squares)
    return found


# -- how it is judged --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class QuerySet:
    """Queries in the rotated basis with the documents that are best without compression."""

    queries: RaggedEmbeddings
    pool: Lists  # the POOL best of each query
    wanted: np.ndarray  # [queries, K] sorted document numbers

    @classmethod
    def of(cls, queries: RaggedEmbeddings, documents: RaggedEmbeddings, left_out: np.ndarray | None) -> QuerySet:
        pool = []
        for start in range(0, len(queries), 50):
            stop = min(start + 50, len(queries))
            offsets = queries.offsets[start : stop + 1]
            values = queries.values[offsets[0] : offsets[-1]]
            scores = BACKEND.maxsim(values, offsets - offsets[0], documents.values, documents.offsets)
            if left_out is not None:
                scores[np.arange(stop - start), left_out[start:stop]] = -np.inf
            pool.append(np.argsort(-scores, axis=1, kind="stable")[:, :POOL])
        rows = np.concatenate(pool).astype(np.uint32)
        lists = Lists(rows.ravel(), POOL * np.arange(len(rows) + 1, dtype=np.int64))
        return cls(queries, lists, np.sort(rows[:, :K], axis=1))

    def hits(self, decoded: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """[queries]: the share of the K wanted that is among the K best of the decoded (fp16) vectors."""
        scores = scores_of_halves(decoded, offsets, self.queries, self.pool)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        found = np.take_along_axis(self.pool.documents.reshape(scores.shape), best, axis=1)
        return np.array([len(set(f) & set(w)) / K for f, w in zip(found, self.wanted, strict=True)])


def scores_of_halves(halves: np.ndarray, offsets: np.ndarray, queries: RaggedEmbeddings, lists: Lists) -> np.ndarray:
    """Exact MaxSim [queries, documents of a list] over fp16 vectors; every list has the same length."""
    nothing = np.zeros(0, np.float16)
    dim, none = halves.shape[1], np.zeros(0, np.float32)
    codec = CodecArrays(dim, RAW_BITS, np.zeros((1, dim), np.float32), none, none)
    postings = np.zeros(2, np.int64), np.zeros(0, np.uint32)
    segment = SegmentArrays(offsets, halves, np.zeros(0, np.uint16), nothing, nothing, *postings, 0.0, 1.0)
    store = BACKEND.prepare(codec, [segment])
    scores = BACKEND.maxsim_quantized(store, queries.values, queries.offsets, lists, "exact")
    return scores.reshape(len(queries), -1)


@dataclass(frozen=True)
class Study:
    """Rotated vectors, their centroids, and query sets."""

    compressed: Compressed
    rotated: np.ndarray  # [T, D]
    offsets: np.ndarray
    sets: dict[str, QuerySet]

    def judged(self, variant: Variant, nbits: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Errors, and the recall of every query by set."""
        cutoffs, levels = (torch.from_numpy(table) for table in gaussian_levels(nbits))
        centroids = torch.from_numpy(self.compressed.codec.arrays.centroids.copy())
        halves = np.empty(self.rotated.shape, np.float16)
        error = residual = bias = 0.0
        for start in range(0, len(halves), BLOCK):
            rows = slice(start, start + BLOCK)
            units = torch.from_numpy(self.rotated[rows])
            base = centroids[torch.from_numpy(self.compressed.ids[rows].astype(np.int64))]
            decoded = variant(units, base, cutoffs, levels)
            error += float((units - decoded).square().sum(dtype=torch.float64))
            residual += float((units - base).square().sum(dtype=torch.float64))
            bias += float((units * decoded).sum(dtype=torch.float64))
            halves[rows] = decoded.to(torch.float16).numpy()
        hits = {name: queries.hits(halves, self.offsets) for name, queries in self.sets.items()}
        errors = {"squared_error": error / len(halves), "error_of_residual": error / residual}
        return {**errors, "mean_product_with_itself": bias / len(halves)}, hits


def compare(study: Study, nbits: int) -> dict[str, Any]:
    """Every variant beside the present codec."""
    figures: dict[str, Any] = {}
    present: dict[str, np.ndarray] = {}
    for name, variant in variants(nbits).items():
        row: dict[str, Any]
        row, hits = study.judged(variant, nbits)
        present = present or hits
        for queries, shares in hits.items():
            gain = shares - present[queries]
            row[queries] = {
                "recall_at_10": float(shares.mean()),
                "gain": float(gain.mean()),
                "standard_error_of_gain": float(gain.std(ddof=1) / np.sqrt(len(gain))),
            }
        figures[name] = row
        print(nbits, name, row, flush=True)
    return figures


def passages_as_queries(collection: Collection, seed: int) -> tuple[RaggedEmbeddings, np.ndarray]:
    numbers = np.random.default_rng([seed, 1]).choice(len(collection.texts), PASSAGES, replace=False)
    encoder = Encoder(MODEL, query_length=PASSAGE_TOKENS)
    return encoder.encode_query([collection.texts[number] for number in numbers]), numbers


def prepared(folder: Path, seed: int) -> Study:
    collection = load_beir(folder)
    documents, queries = embeddings(collection, MODEL, 128)
    passages, numbers = passages_as_queries(collection, seed)
    compressed = Compressed.of(documents.values, seed)
    for start in range(0, len(documents.values), BLOCK):  # in place: inner products stay what they were
        rows = slice(start, start + BLOCK)
        documents.values[rows] = compressed.codec.rotate(documents.values[rows], BACKEND)
    turned = [
        RaggedEmbeddings(compressed.codec.rotate(vectors.values, BACKEND), vectors.offsets)
        for vectors in (queries, passages)
    ]
    sets = {
        "queries": QuerySet.of(turned[0], documents, None),
        "passages": QuerySet.of(turned[1], documents, numbers),
    }
    return Study(compressed, documents.values, documents.offsets, sets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv")
    parser.add_argument("--nbits", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    study = prepared(arguments.folder, arguments.seed)
    settings = {"collection": arguments.folder.name, "model": MODEL, "dim": 128, "seed": arguments.seed, "pool": POOL}
    figures: dict[str, Any] = {}
    for nbits in arguments.nbits:
        figures[f"{nbits}_bits"] = compare(study, nbits)
        write_result(f"codec-variants-{arguments.folder.name}", settings, figures)


if __name__ == "__main__":
    main()
