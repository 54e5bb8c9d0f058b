"""The narrow interface of the kernels: what every backend computes, and the rules it keeps.

Rules (each has bitten a project of this field):

* Sums are accumulated in fp32 or better; "fast" scores stay within `score_error_bound` of "exact" ones, a proven bound,
  unless a "fast" table of centroid scores was given.
* The first index wins a tie of a maximum.
* A document without tokens scores -inf, never 0. A query without tokens scores 0 for every document that has tokens.
* NaN among stored vectors cannot be written by the indexer; where it comes from a damaged file, scores are undefined
  but no memory outside the arrays is read.
* Document ids, centroid ids and offsets come from files that may be hostile: a backend checks them where it uses them
  and raises CorruptIndexError.
* Shapes and dtypes are checked once, in the adapter, before any native call.
* Results are fp32; the same input twice gives the same bits, whatever the number of threads.
* Ragged offsets, never padding.

Arrays at this boundary are numpy arrays in host memory, C-contiguous. Queries and stored vectors live in the codec's
rotated basis (see codec/): a backend never rotates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from jcb_engine.types import AnyArray, Float16Array, Float32Array, Int32Array, Int64Array, Uint8Array, Uint32Array

Precision: TypeAlias = Literal["fast", "exact"]
Winners: TypeAlias = Int32Array | Int64Array  # int32 where there are fewer than 2^31 rows: see no_winners
# Multiples of a residual's own size for which its codes are tried. The error falls by 15 % at 4 bits and by 13 % at 8,
# where a trial is dear; at 2 bits by 1 %, and recall does not rise.
SIGMA_FACTORS = {
    4: (0.75, 0.8125, 0.875, 0.9375, 1.0, 1.0625, 1.125, 1.1875),
    8: (0.8125, 0.90625, 1.0),
}
LEAST_GAIN = 1e-9  # relative; what is less is rounding: with one dimension every factor fits exactly
SIGN_ROUNDS = 2
# Among candidates, where nothing is proven, this many documents show how wrong fast scores are, and none is taken to be
# ERROR_FACTOR times as wrong as the worst of them. Were errors normal: the worst of 16 is below .8 sigma once in 7,000
# times, and a hit is lost then with a chance of 1 in 1,500. The proven bound is about ten times the worst error seen;
# with it 140 documents were scored again, for 2.9 of 4 ms (4 bits, AVX2).
ERROR_SAMPLE, ERROR_FACTOR = 16, 4.0
RAW_BITS = 16  # a codec of this width stores fp16 vectors and needs neither centroids nor scalars to decode


@dataclass(frozen=True, slots=True, weakref_slot=True)
class CodecArrays:
    """What is needed to decode: v = norm * (centroids[id] + sigma * levels[code]), or v = norm_scale * fp16 (raw).

    dim: D. nbits: 1, 2, 4, 8, or 16 (raw).
    centroids: [K, D] float32, in the rotated basis. Raw codecs have them too, for candidates only.
    cutoffs: [2**nbits - 1] float32 ascending: value x gets the code "number of cutoffs below x". Empty when raw.
    levels: [2**nbits] float32, the value that a code stands for, in units of sigma. Empty when raw.
    norm_scale: a power of two by which stored norms (or raw values) are multiplied.
    """

    dim: int
    nbits: int
    centroids: Float32Array
    cutoffs: Float32Array
    levels: Float32Array
    norm_scale: float = 1.0

    @property
    def code_bytes(self) -> int:
        """Bytes of codes per token: ceil(dim * nbits / 8). The first dimension is in the low bits of byte 0."""
        return (self.dim * self.nbits + 7) // 8


@dataclass(frozen=True, slots=True)
class SegmentArrays:
    """The arrays of one segment, usually views of mapped files. Document numbers inside are local to the segment.

    doc_offsets: [N + 1] int64.
    codes: [T, code_bytes] uint8, or [T, D] float16 when raw.
    centroid_ids: [T] uint16 or uint32; [0] when raw.
    sigmas, norms: [T] float16; [0] when raw. The norm of a token is norms * codec.norm_scale.
    posting_offsets: [K + 1] int64; posting_documents: [P] uint32, ascending and unique inside a list.
    max_sigma, max_norm: largest values of `sigmas` and of `norms` as stored; the error bound rests on them, so a
        backend clamps larger ones (they can only come from a damaged file).
    """

    doc_offsets: Int64Array
    codes: Uint8Array | Float16Array
    centroid_ids: AnyArray
    sigmas: Float16Array
    norms: Float16Array
    posting_offsets: Int64Array
    posting_documents: Uint32Array
    max_sigma: float
    max_norm: float


@dataclass(frozen=True, slots=True)
class CentroidLists:
    """Centroids parted into lists, none of them empty, so that not all need be compared.

    centroids: [K, D] float32, list after list. ids: [K] uint32, the number of each. offsets: [L + 1] int64.
    """

    centroids: Float32Array
    ids: Uint32Array
    offsets: Int64Array


@dataclass(frozen=True, slots=True)
class Lists:
    """Candidates per query: query i scores documents[list_offsets[i]:list_offsets[i + 1]]. Scores come back as [M]."""

    documents: Uint32Array  # [M], numbered through the store
    list_offsets: Int64Array  # [queries + 1]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Document ranges that every query scores. Scores come back as [queries, sum(ends - starts)]."""

    starts: Int64Array  # [R], numbered through the store
    ends: Int64Array  # [R], exclusive


Candidates: TypeAlias = Lists | Ranges


@dataclass(frozen=True, slots=True)
class Probing:
    """How wide to look for candidates by centroids.

    probes: centroids of a query token whose postings are read. pool: documents that these find, the best by their
    accumulated scores. documents: those of the pool that are scored, the best by centroid-only MaxSim.
    """

    probes: int
    pool: int
    documents: int


class Store(Protocol):
    """Segments prepared once by a backend. Documents are numbered through all segments, in order."""

    @property
    def documents(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def segment_starts(self) -> Int64Array:
        """[segments + 1]: the first document number of each segment, and the total."""
        ...


class CentroidTable(Protocol):
    """Scores of every centroid for the query tokens of one call."""

    @property
    def is_exact(self) -> bool:
        """Whether they are fp32 inner products: not those of a "fast" table of a backend that has such."""
        ...

    def to_array(self) -> Float32Array:
        """[K, Q] float32."""
        ...


class Backend(Protocol):
    """One family of kernels. Chosen once, by `kernels.select`."""

    @property
    def name(self) -> str:
        """Such as "reference" or "cpu/avx2"."""
        ...

    @property
    def threads(self) -> int:
        """How many threads an operation uses at most."""
        ...

    # -- building --------------------------------------------------------------------------------------------------
    def nearest_centroids(
        self, vectors: Float32Array, centroids: Float32Array, count: int
    ) -> tuple[Int64Array, Float32Array]:
        """Ids [T, count] and inner products [T, count] of the best centroids by inner product, best first.

        vectors [T, D], centroids [K, D]; count <= K. The lower id wins a tie.
        """
        ...

    def nearest_in_lists(self, vectors: Float32Array, lists: CentroidLists, probes: Int64Array) -> Uint32Array:
        """Id [T] of the best centroid by inner product among those in the lists that a vector probes.

        vectors [T, D]; probes [T, P] numbers of lists, P >= 1. The lower id wins a tie.
        """
        ...

    def quantize(
        self, vectors: Float32Array, centroid_ids: Uint32Array, codec: CodecArrays
    ) -> tuple[Uint8Array, Float16Array, Float16Array]:
        """Codes [T, code_bytes], sigmas [T] and norms [T] of vectors [T, D]; nbits 1, 2, 4 or 8.

        With u = v / |v|, r = u - centroids[id], own = |r| / sqrt(D) rounded to fp16, and w = levels[code]:

        2 bits: code_d = number of cutoffs below r_d / own, and sigma = own.
        4 and 8 bits: for each factor of SIGMA_FACTORS, code_d = number of cutoffs below r_d / (factor * own) and
        sigma = <r, w> / <w, w>. The factor with the least |r - sigma * w| is taken, that is, the largest gain
        <r, w>^2 / <w, w>; a later one must have more than 1 + LEAST_GAIN times as much.
        1 bit: code_d as at 2 bits, and sigma = <r, r> / <r, w>, the projection that keeps
        <r, r^> = <r, r> (better there than the least error). Then SIGN_ROUNDS times, since decoded vectors are scaled:
        the codes of u * |x|^2 / <u, x> - centroid instead of r, with x = centroid + sigma * w, and sigma anew.
        Where <r, w> or <u, x> is not positive, sigma and codes stay what they were; own is the first sigma.

        norm = |v| / (norm_scale * |centroid + sigma * w|), so that a decoded vector keeps the input's norm. A zero
        vector has norm 0, a zero residual (own = 0) sigma 0 and codes 0.
        """
        ...

    def dequantize(
        self,
        centroid_ids: Uint32Array,
        codes: Uint8Array,
        sigmas: Float16Array,
        norms: Float16Array,
        codec: CodecArrays,
    ) -> Float32Array:
        """Decoded vectors [T, D]."""
        ...

    # -- searching: over a store that is prepared once and kept -------------------------------------------------------
    def prepare(self, codec: CodecArrays, segments: Sequence[SegmentArrays]) -> Store:
        """Check shapes and dtypes, and keep views of the arrays (CPU) or a copy (GPU). Contents are not read."""
        ...

    def centroid_scores(self, store: Store, queries: Float32Array, precision: Precision = "exact") -> CentroidTable:
        """Inner products of all centroids and queries [Q, D].

        "fast" may make them of small integers, usually off by some thousandths of |q| * |centroid| (the bound is in
        csrc/cpu/word_table.h): for finding candidates, and for fast scores that need no proven bound. Exact scores need
        no table, and are the same bits with any. InputError where it finds NaN or infinity in a query.
        """
        ...

    def best_centroids(self, store: Store, table: CentroidTable, count: int) -> tuple[Int64Array, Float32Array]:
        """Ids [Q, count] and scores [Q, count] of the best centroids in a table, as `nearest_centroids` has them."""
        ...

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
        """Documents in the postings of the probed centroids, with their approximate scores.

        probes [Q, P] centroid ids, probe_scores [Q, P], frontier [Q]: what a query token is worth to a document that
        none of its probed centroids holds. score(d) = sum over q of max(frontier_q, best probe score of q that
        holds d). mask: bitmap, bit d & 7 of byte d >> 3 allows document d of the store; None allows all.
        Returns, per query, the `limit` best documents (higher score first, then the lower number) with their scores.
        """
        ...

    def maxsim_centroids(
        self, store: Store, table: CentroidTable, query_offsets: Int64Array, candidates: Candidates
    ) -> Float32Array:
        """MaxSim in which every token is its centroid: codes and scalars are not read. Not for raw codecs."""
        ...

    def maxsim_quantized(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        candidates: Candidates,
        precision: Precision = "fast",
        table: CentroidTable | None = None,
    ) -> Float32Array:
        """MaxSim of queries [Q, D] over stored tokens. "exact" is fp32 over decoded vectors: the form that ranks hits.

        `table` spares computing the centroid scores of the same queries again. By one that is not exact, fast scores
        are not within `score_error_bound`.
        """
        ...

    def score_error_bound(self, store: Store, queries: Float32Array, query_offsets: Int64Array) -> Float32Array:
        """[queries]: a proven bound of |fast - exact| for any document of the store; 0 where fast is exact."""
        ...

    # -- plain vectors ------------------------------------------------------------------------------------------------
    def inner_products(self, rows: Float32Array, columns: Float32Array) -> Float32Array:
        """[M, N] inner products of rows [M, D] and columns [N, D]."""
        ...

    def maxsim(
        self, queries: Float32Array, query_offsets: Int64Array, vectors: Float32Array, doc_offsets: Int64Array
    ) -> Float32Array:
        """Scores [queries, N] of uncompressed vectors [T, D]."""
        ...

    def maxsim_argmax(
        self, queries: Float32Array, query_offsets: Int64Array, vectors: Float32Array, doc_offsets: Int64Array
    ) -> tuple[Float32Array, Winners]:
        """Scores [queries, N], and for every document and query token the winning row of `vectors`: [N, Q].

        -1 where the document is empty. A product that is NaN never wins; where a query token has no other, its maximum
        is -inf, and the document's first row its winner.
        """
        ...

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
        """Gradients [Q, D] and [T, D] of sum(grad * scores), grad [queries, N], for the winners in argmax [N, Q].

        None for the side that is not asked for. `grad` of an empty document is not read, and where it is 0 nothing is
        added, not even NaN.
        """
        ...


@runtime_checkable
class ScanningBackend(Backend, Protocol):
    """A backend that can search everything by itself: no score leaves the device but those of possible hits."""

    def scan_is_cheap(self, store: Store) -> bool:
        """Whether scoring all documents is expected to take so little, about 1 ms, that none need be passed over."""
        ...

    def best_of_all(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        k: int,
        mask: Uint8Array | None = None,
    ) -> list[tuple[Uint32Array, Float32Array]] | None:
        """For each query every document that could be among its k best: numbers, ascending, and exact scores.

        Proven: no document of the k best by exact score is missing. mask: as in `accumulate_postings`. None where the
        backend cannot (a k too large, thousands of documents that score alike): score everything in another way.
        """
        ...


@runtime_checkable
class ProbingBackend(Backend, Protocol):
    """A backend that finds, narrows and scores candidates by itself, without waiting for the host in between."""

    def best_among_probed(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        k: int,
        probing: Probing,
        mask: Uint8Array | None = None,
    ) -> list[tuple[Uint32Array, Float32Array]] | None:
        """For each query the candidates that could be among its k best: numbers, ascending, and exact scores.

        Candidates as `best_centroids`, `accumulate_postings` and `maxsim_centroids` of "fast" centroid scores find
        them, but that all documents of the pool's last score may be in it. Of those, one may be missing that fast
        scores misjudge by ERROR_FACTOR times as much as they do the worst of the ERROR_SAMPLE best. mask: as in
        `accumulate_postings`. None where the backend cannot: raw codecs, all centroids probed or very many, a k too
        large, thousands of documents with one accumulated score, no memory. Find them in the other way then.
        """
        ...


@runtime_checkable
class WarmedBackend(Backend, Protocol):
    """A backend whose programs are compiled or loaded when they first run, which may take seconds."""

    def warm(self, store: Store) -> None:
        """Run what searches of this store run once, over next to nothing. A Searcher does it when it opens."""
        ...


@runtime_checkable
class GpuBackend(Backend, Protocol):
    """A backend that runs on one GPU, which others may use as well."""

    @property
    def gpu(self) -> int:
        """Its number, as CUDA counts those that this process sees."""
        ...


class HeldVectors(Protocol):
    """Vectors [S, D] that a backend has at hand, to be compared with one set of centroids after the other."""

    def means(self, centroids: Float32Array) -> tuple[Float32Array, Uint32Array]:
        """The mean of the vectors nearest to each of centroids [K, D] (zeros of none), [K, D]; and ids [S] of these.

        Nearest as `AssigningBackend.nearest` finds it. Equal input gives equal bits, in whatever parts it is worked on.
        """
        ...

    def squared_distances(self, centroids: Float32Array) -> Float32Array:
        """[S] squared L2 distances of the vectors to the nearest of centroids [K, D]."""
        ...


@runtime_checkable
class AssigningBackend(Backend, Protocol):
    """A backend that compares vectors with all centroids faster than others do with some.

    It may keep a copy of the centroids, or of the codec, that it was given last for as long as they live: whoever
    changes such an array in place gives it as another one.
    """

    def hold(self, vectors: Float32Array) -> HeldVectors:
        """Have vectors [S, D] about unit length at hand, S >= 1: a map of a file, if need be, that is read again.

        InputError on NaN and infinity.
        """
        ...

    def nearest(self, vectors: Float32Array, centroids: Float32Array) -> Uint32Array:
        """Ids [T] of the centroid at the least L2 distance of each of vectors [T, D]; centroids [K, D].

        Both are about unit length. Another centroid may win that is farther by about 1e-3. The lower id wins a tie,
        and equal vectors get equal ids.
        """
        ...

    def encode(
        self, vectors: Float32Array, codec: CodecArrays
    ) -> tuple[Uint32Array, Uint8Array, Float16Array, Float16Array]:
        """Ids [T] of vectors [T, D] of any length, as `nearest` finds them at unit length, and what `quantize` makes of
        them: codes, sigmas, norms. Vectors are moved once. nbits 1, 2, 4 or 8.
        """
        ...


def smallest_query(dim: int) -> tuple[Float32Array, Int64Array]:
    """One query of one token: vectors [1, dim] and offsets, to warm a backend with."""
    return np.eye(1, dim, dtype=np.float32), np.array([0, 1], dtype=np.int64)


def no_winners(documents: int, query_tokens: int, rows: int) -> Winners:
    """-1 [documents, query_tokens], in the dtype of winners among so many rows."""
    if rows < 2**31:
        return np.full((documents, query_tokens), -1, dtype=np.int32)
    return np.full((documents, query_tokens), -1, dtype=np.int64)
