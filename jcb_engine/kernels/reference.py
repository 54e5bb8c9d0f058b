"""The reference backend: every operation in plain torch, short enough to be read as the specification.

Ties, masks, empty documents and the rest follow the rules of interface.py. Other backends are tested against this one,
and `exact=True` of every backend means: the ids and order that this one gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jcb_engine.errors import CorruptIndexError
from jcb_engine.kernels.interface import (
    RAW_BITS,
    Candidates,
    CentroidLists,
    CentroidTable,
    CodecArrays,
    Lists,
    Precision,
    Ranges,
    SegmentArrays,
    Store,
    Winners,
    no_winners,
)
from jcb_engine.kernels.torch_quantize import Table, quantize
from jcb_engine.types import AnyArray, Float16Array, Float32Array, Int64Array, Uint8Array, Uint32Array


@dataclass(frozen=True, slots=True)
class ReferenceStore:
    """Views of the segments as they are."""

    codec: CodecArrays
    segments: tuple[SegmentArrays, ...]
    segment_starts: Int64Array

    @property
    def documents(self) -> int:
        return int(self.segment_starts[-1])

    @property
    def tokens(self) -> int:
        return sum(len(segment.codes) for segment in self.segments)


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    scores: torch.Tensor  # [K, Q]
    is_exact = True

    def to_array(self) -> Float32Array:
        return np.asarray(self.scores.numpy(), dtype=np.float32)


class ReferenceBackend:
    """Plain torch on the CPU. Slow, and right."""

    name = "reference"

    @property
    def threads(self) -> int:
        return torch.get_num_threads()

    # -- building --------------------------------------------------------------------------------------------------
    def nearest_centroids(
        self, vectors: Float32Array, centroids: Float32Array, count: int
    ) -> tuple[Int64Array, Float32Array]:
        return _best(_tensor(vectors) @ _tensor(centroids).T, count)

    def nearest_in_lists(self, vectors: Float32Array, lists: CentroidLists, probes: Int64Array) -> Uint32Array:
        order = torch.argsort(_tensor(lists.ids.astype(np.int64)))
        list_of_place = torch.repeat_interleave(torch.diff(_tensor(lists.offsets)))
        products = (_tensor(vectors) @ _tensor(lists.centroids).T)[:, order]
        probed = (list_of_place[order][None, :, None] == _tensor(probes)[:, None, :]).any(dim=2)
        best = torch.where(probed, products, -torch.inf).argmax(dim=1)
        return np.asarray(_tensor(lists.ids.astype(np.int64))[order][best].numpy(), dtype=np.uint32)

    def quantize(
        self, vectors: Float32Array, centroid_ids: Uint32Array, codec: CodecArrays
    ) -> tuple[Uint8Array, Float16Array, Float16Array]:
        values = _tensor(np.asarray(vectors, dtype=np.float32))
        table = Table(_tensor(codec.cutoffs), _tensor(codec.levels), codec.nbits)
        codes, sigmas, norms = quantize(values, _gather_centroids(codec, centroid_ids), table)
        return pack_codes(codes.numpy(), codec.nbits), _half(sigmas), _half(norms / codec.norm_scale)

    def dequantize(
        self,
        centroid_ids: Uint32Array,
        codes: Uint8Array,
        sigmas: Float16Array,
        norms: Float16Array,
        codec: CodecArrays,
    ) -> Float32Array:
        directions = _tensor(codec.levels)[_tensor(unpack_codes(codes, codec.dim, codec.nbits)).long()]
        scale = _tensor(np.asarray(norms, dtype=np.float32)) * codec.norm_scale
        sizes = _tensor(np.asarray(sigmas, dtype=np.float32))
        vectors = scale[:, None] * (_gather_centroids(codec, centroid_ids) + sizes[:, None] * directions)
        return np.asarray(vectors.numpy(), dtype=np.float32)

    # -- searching ----------------------------------------------------------------------------------------------------
    def prepare(self, codec: CodecArrays, segments: Sequence[SegmentArrays]) -> ReferenceStore:
        sizes = [len(segment.doc_offsets) - 1 for segment in segments]
        return ReferenceStore(codec, tuple(segments), np.cumsum([0, *sizes], dtype=np.int64))

    def centroid_scores(self, store: Store, queries: Float32Array, precision: Precision = "exact") -> ReferenceTable:
        codec = _own(store).codec
        return ReferenceTable(_tensor(codec.centroids) @ _tensor(queries).T)

    def best_centroids(self, store: Store, table: CentroidTable, count: int) -> tuple[Int64Array, Float32Array]:
        return _best(_tensor(table.to_array()).T, count)

    def accumulate_postings(
        self,
        store: Store,
        probes: Int64Array,
        probe_scores: Float32Array,
        frontier: Float32Array,
        query_offsets: Int64Array,
        limit: int,
        mask: Uint8Array | None = None,
    ) -> tuple[Lists, Float32Array]:
        own = _own(store)
        allowed = None if mask is None else np.unpackbits(mask, bitorder="little")[: own.documents].astype(bool)
        documents, scores = [], []
        for first, last in itertools.pairwise(query_offsets):
            found = np.zeros(own.documents, dtype=bool)
            total = np.zeros(own.documents, dtype=np.float32)
            for row in range(first, last):
                best = np.full(own.documents, frontier[row], dtype=np.float32)
                for centroid, score in zip(probes[row], probe_scores[row], strict=True):
                    members = _posting(own, int(centroid))
                    found[members] = True
                    best[members] = np.maximum(best[members], score)
                total += best
            if allowed is not None:
                found &= allowed
            members = np.flatnonzero(found)
            kept = members[np.argsort(-total[members], kind="stable")[:limit]]
            documents.append(kept.astype(np.uint32))
            scores.append(total[kept])
        list_offsets = np.cumsum([0, *map(len, documents)], dtype=np.int64)
        return Lists(_joined(documents, np.uint32), list_offsets), _joined(scores, np.float32)

    def maxsim_centroids(
        self, store: Store, table: CentroidTable, query_offsets: Int64Array, candidates: Candidates
    ) -> Float32Array:
        own = _own(store)
        scores = _tensor(table.to_array())

        def score(query: int, document: int) -> float:
            segment, tokens = _locate(own, document)
            ids = _checked_ids(own.codec, segment.centroid_ids[tokens])
            return _sum_of_maxima(scores[ids, query_offsets[query] : query_offsets[query + 1]])

        return _score_candidates(score, query_offsets, candidates)

    def maxsim_quantized(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        candidates: Candidates,
        precision: Precision = "fast",
        table: CentroidTable | None = None,
    ) -> Float32Array:
        own = _own(store)
        rows = _tensor(queries)

        def score(query: int, document: int) -> float:
            vectors = _tensor(self.decode_document(own, document))
            return _sum_of_maxima(vectors @ rows[query_offsets[query] : query_offsets[query + 1]].T)

        return _score_candidates(score, query_offsets, candidates)

    def decode_document(self, store: Store, document: int) -> Float32Array:
        """The stored vectors of one document: [tokens, D]."""
        own = _own(store)
        segment, tokens = _locate(own, document)
        if own.codec.nbits == RAW_BITS:
            return np.asarray(segment.codes[tokens], dtype=np.float32) * np.float32(own.codec.norm_scale)
        return self.dequantize(
            segment.centroid_ids[tokens].astype(np.uint32),
            np.asarray(segment.codes[tokens], dtype=np.uint8),
            segment.sigmas[tokens],
            segment.norms[tokens],
            own.codec,
        )

    def score_error_bound(self, store: Store, queries: Float32Array, query_offsets: Int64Array) -> Float32Array:
        return np.zeros(len(query_offsets) - 1, dtype=np.float32)

    # -- plain vectors ------------------------------------------------------------------------------------------------
    def inner_products(self, rows: Float32Array, columns: Float32Array) -> Float32Array:
        return np.asarray((_tensor(rows) @ _tensor(columns).T).numpy(), dtype=np.float32)

    def maxsim(
        self, queries: Float32Array, query_offsets: Int64Array, vectors: Float32Array, doc_offsets: Int64Array
    ) -> Float32Array:
        return self.maxsim_argmax(queries, query_offsets, vectors, doc_offsets)[0]

    def maxsim_argmax(
        self, queries: Float32Array, query_offsets: Int64Array, vectors: Float32Array, doc_offsets: Int64Array
    ) -> tuple[Float32Array, Winners]:
        rows, tokens = _tensor(queries), _tensor(vectors)
        documents, texts = len(doc_offsets) - 1, len(query_offsets) - 1
        scores = np.full((texts, documents), -np.inf, dtype=np.float32)
        argmax = no_winners(documents, len(queries), len(vectors))
        for document, (first, last) in enumerate(itertools.pairwise(doc_offsets)):
            if first == last:
                continue
            # torch's max does not say which index wins a tie on every device; the first that equals it does.
            similarities = rows @ tokens[first:last].T
            similarities = torch.where(similarities.isnan(), -torch.inf, similarities)
            best = similarities.max(dim=1).values
            winners = (similarities == best[:, None]).to(torch.uint8).argmax(dim=1)
            argmax[document] = winners.numpy() + first
            for text in range(texts):
                scores[text, document] = best[query_offsets[text] : query_offsets[text + 1]].sum()
        return scores, argmax

    def maxsim_backward(
        self,
        grad: Float32Array,
        queries: Float32Array,
        query_offsets: Int64Array,
        vectors: Float32Array,
        doc_offsets: Int64Array,
        argmax: Winners,
        for_queries: bool = True,
        for_vectors: bool = True,
    ) -> tuple[Float32Array | None, Float32Array | None]:
        rows, tokens = _tensor(queries), _tensor(vectors)
        text_of_row = np.repeat(np.arange(len(query_offsets) - 1), np.diff(query_offsets))
        grad_rows, grad_tokens = torch.zeros_like(rows), torch.zeros_like(tokens)
        for document in np.flatnonzero(np.diff(doc_offsets)):
            weights = grad[text_of_row, document]
            there = np.flatnonzero(weights)
            weighed = _tensor(weights[there])[:, None]
            winners = _tensor(argmax[document, there].astype(np.int64))
            grad_rows.index_add_(0, _tensor(there), weighed * tokens[winners])
            grad_tokens.index_add_(0, winners, weighed * rows[_tensor(there)])
        return grad_rows.numpy() if for_queries else None, grad_tokens.numpy() if for_vectors else None


def pack_codes(codes: Uint8Array, nbits: int) -> Uint8Array:
    """Codes [T, D] in 0..2**nbits-1 -> bytes [T, ceil(D * nbits / 8)], the first dimension in the low bits."""
    bits = np.unpackbits(codes[:, :, None], axis=2, count=nbits, bitorder="little")
    return np.packbits(bits.reshape(len(codes), codes.shape[1] * nbits), axis=1, bitorder="little")


def unpack_codes(packed: Uint8Array, dim: int, nbits: int) -> Uint8Array:
    """The inverse of pack_codes: bytes [T, B] -> codes [T, D]."""
    bits = np.unpackbits(packed, axis=1, count=dim * nbits, bitorder="little")
    return np.packbits(bits.reshape(len(packed), dim, nbits), axis=2, bitorder="little")[:, :, 0]


def _tensor(array: AnyArray) -> torch.Tensor:
    """A tensor of the array's contents; a copy where the array is a read-only map, which torch would warn about."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _own(store: Store) -> ReferenceStore:
    assert isinstance(store, ReferenceStore), "this store was prepared by another backend"
    return store


def _best(scores: torch.Tensor, count: int) -> tuple[Int64Array, Float32Array]:
    """Ids and scores [rows, count] of the largest values of each row, the lower id first in a tie; NaN is -inf."""
    scores = torch.where(scores.isnan(), -torch.inf, scores)
    best, ids = torch.sort(scores, dim=1, descending=True, stable=True)  # topk promises no order among equals
    return ids[:, :count].contiguous().numpy(), best[:, :count].contiguous().numpy()


def _half(values: torch.Tensor) -> Float16Array:
    return np.asarray(values.to(torch.float16).numpy(), dtype=np.float16)


def _checked_ids(codec: CodecArrays, centroid_ids: np.ndarray) -> torch.Tensor:
    ids = _tensor(centroid_ids.astype(np.int64))
    if len(ids) and int(ids.max()) >= len(codec.centroids):
        raise CorruptIndexError(f"a token names centroid {int(ids.max())}; the codec has {len(codec.centroids)}")
    return ids


def _gather_centroids(codec: CodecArrays, centroid_ids: Uint32Array) -> torch.Tensor:
    return _tensor(codec.centroids)[_checked_ids(codec, centroid_ids)]


def _locate(store: ReferenceStore, document: int) -> tuple[SegmentArrays, slice]:
    """The segment of a document and the slice of its tokens there."""
    if not 0 <= document < store.documents:
        raise CorruptIndexError(f"document {document} of {store.documents}")
    number = int(np.searchsorted(store.segment_starts, document, side="right")) - 1
    segment = store.segments[number]
    local = document - int(store.segment_starts[number])
    first, last = int(segment.doc_offsets[local]), int(segment.doc_offsets[local + 1])
    if not 0 <= first <= last <= len(segment.codes):
        raise CorruptIndexError(f"document {document} owns tokens {first}:{last} of {len(segment.codes)}")
    return segment, slice(first, last)


def _posting(store: ReferenceStore, centroid: int) -> Int64Array:
    """Document numbers (through the store) that have a token of this centroid."""
    members = []
    for start, segment in zip(store.segment_starts, store.segments, strict=False):
        if not 0 <= centroid < len(segment.posting_offsets) - 1:
            raise CorruptIndexError(f"centroid {centroid} of {len(segment.posting_offsets) - 1} posting lists")
        first, last = segment.posting_offsets[centroid : centroid + 2]
        if not 0 <= first <= last <= len(segment.posting_documents):
            raise CorruptIndexError(f"postings {first}:{last} of {len(segment.posting_documents)}")
        local = segment.posting_documents[first:last].astype(np.int64)
        if len(local) and int(local.max()) >= len(segment.doc_offsets) - 1:
            raise CorruptIndexError(f"a posting names document {int(local.max())}")
        members.append(local + start)
    return _joined(members, np.int64)


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def _sum_of_maxima(similarities: torch.Tensor) -> float:
    """similarities [tokens, query tokens] -> sum over query tokens of the best token; -inf without tokens."""
    if len(similarities) == 0:
        return float("-inf")
    return float(similarities.max(dim=0).values.sum())


def _pairs(queries: int, candidates: Candidates) -> Iterator[tuple[int, int]]:
    if isinstance(candidates, Ranges):
        for query in range(queries):
            for start, end in zip(candidates.starts, candidates.ends, strict=True):
                yield from ((query, document) for document in range(start, end))
        return
    for query, (first, last) in enumerate(zip(candidates.list_offsets[:-1], candidates.list_offsets[1:], strict=True)):
        yield from ((query, int(document)) for document in candidates.documents[first:last])


def _score_candidates(score: object, query_offsets: Int64Array, candidates: Candidates) -> Float32Array:
    assert callable(score)
    queries = len(query_offsets) - 1
    scores = np.array([score(query, document) for query, document in _pairs(queries, candidates)], dtype=np.float32)
    return scores.reshape(queries, -1) if isinstance(candidates, Ranges) else scores
