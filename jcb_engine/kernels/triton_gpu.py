"""The Triton backend: MaxSim and whole searches on one GPU, without a CUDA compiler.

Needs torch and triton. Importing this module raises BackendUnavailableError where one is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from jcb_engine.errors import BackendUnavailableError, CorruptIndexError, InputError
from jcb_engine.kernels.checks import (
    check_array,
    check_candidates,
    check_count,
    check_mask,
    check_offsets,
    check_precision,
)
from jcb_engine.kernels.host_operations import HostOperations
from jcb_engine.kernels.interface import (
    RAW_BITS,
    Backend,
    Candidates,
    CentroidTable,
    CodecArrays,
    Lists,
    Precision,
    Probing,
    Ranges,
    SegmentArrays,
    Store,
)
from jcb_engine.kernels.lookup_assembly import lookup_assembly
from jcb_engine.kernels.placement import warn_of_codes_on_host
from jcb_engine.types import Float16Array, Float32Array, Int64Array, Uint8Array, Uint32Array

try:
    import torch
    from triton.runtime import JITFunction

    from jcb_engine.kernels import triton_kernels
    from jcb_engine.kernels.triton_building import encoded, nearest, quantized
    from jcb_engine.kernels.triton_keys import best_of_rows, numbers_of, scores_of
    from jcb_engine.kernels.triton_probe import Probe, Rooms, Scoring, answers_of, can_probe
    from jcb_engine.kernels.triton_scan import best_of_all
    from jcb_engine.kernels.triton_store import TritonStore, TritonTable, place, prepare_store
    from jcb_engine.kernels.triton_work import PIECE, QueryLayout, Work, added, plan
except ImportError as error:
    raise BackendUnavailableError(
        f"the Triton kernels need torch and triton ({error}): pip install 'jcb-engine[gpu]'"
    ) from error

Float64Array: TypeAlias = npt.NDArray[np.float64]
# Up to so many tokens everything is scanned. Predicted, not measured (python -m benchmarks.gpu.model): 50 Gtoken/s are
# .9 ms, and a search among candidates launches some two hundred programs, most of them torch's: a millisecond.
SCANNED_TOKENS = 45_000_000
_HALF_ROUNDING = 2.0**-11  # of a number that is rounded to fp16, relative
_SMALLEST_HALF = 2.0**-25  # and at least so much
_MOST_BYTES_OF_PLANES = 32  # of a row of codes whose planes a program holds at once
_STEP = 128  # stored tokens of a step, where the planes of a row are held at once
SMALL_STEPS = {1: 64, 2: 64, 4: 64, 8: 32}  # by bits, where they are not
RAW_STEPS = {False: 128, True: 16}  # stored vectors of a step of fast and of exact scores
RAW_CHUNK = 32  # dimensions of a product
CENTROID_STEP = 64  # where no codes are read: twice as many would spill on some GPUs
_SMALLEST_WIDTH = 16  # of a product's inner dimension
_WARPS = 4
_PRODUCT_ROWS = 64  # centroids of a program that multiplies them


class TritonBackend(HostOperations):
    """Searches and compresses on a GPU; the rest, and postings where somebody asks for that stage alone, is the CPU
    kernels' work.
    """

    def __init__(self, host: Backend, device: str = "cuda") -> None:
        """Choose the GPU.

        host: the kernels for what is not done on it. Raises BackendUnavailableError where there is no such GPU;
        device="cpu" is for Triton's interpreter (TRITON_INTERPRET=1), which runs the same programs slowly, and raises
        it otherwise.
        """
        super().__init__(host)
        self._interpreted = not isinstance(triton_kernels.maxsim_any, JITFunction)
        given = torch.device(device)
        # With its number, so that no thread's current GPU is meant instead.
        self._device = torch.device("cuda", given.index or 0) if given.type == "cuda" else given
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailableError(
                "no GPU can be used: torch sees none, for want of one, of its driver, or of a torch with CUDA; "
                "leave out the device to search on the processor"
            )
        if self._device.type == "cuda" and (self._device.index or 0) >= torch.cuda.device_count():
            raise BackendUnavailableError(f"there is no {device}; torch sees {torch.cuda.device_count()} GPUs")
        if self._device.type not in ("cuda", "cpu") or (self._device.type == "cpu" and not self._interpreted):
            raise BackendUnavailableError(f"the Triton kernels run on a GPU, not on {device}; name one, such as cuda:0")

    @property
    def name(self) -> str:
        where = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "interpreter"
        return f"triton/{where}"

    def _in_use(self) -> AbstractContextManager[object]:
        """Triton launches on the current GPU of the thread."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def nearest(self, vectors: Float32Array, centroids: Float32Array) -> Uint32Array:
        with self._in_use():
            return nearest(vectors, centroids, self._device)

    def quantize(
        self, vectors: Float32Array, centroid_ids: Uint32Array, codec: CodecArrays
    ) -> tuple[Uint8Array, Float16Array, Float16Array]:
        if len(centroid_ids) and int(centroid_ids.max()) >= len(codec.centroids):
            raise CorruptIndexError(f"centroid {int(centroid_ids.max())} of {len(codec.centroids)} was given")
        with self._in_use():
            return quantized(vectors, centroid_ids, codec, self._device)

    def encode(
        self, vectors: Float32Array, codec: CodecArrays
    ) -> tuple[Uint32Array, Uint8Array, Float16Array, Float16Array]:
        with self._in_use():
            return encoded(vectors, codec, self._device)

    def prepare(
        self, codec: CodecArrays, segments: Sequence[SegmentArrays], most_on_device: int | None = None
    ) -> TritonStore:
        """most_on_device: bytes of codes that may lie on the GPU; None for what is free there, 0 for host memory."""
        store = prepare_store(codec, segments, self._host.prepare(codec, segments), self._device, most_on_device)
        if store.lies_on_host:
            warn_of_codes_on_host(self.name, store.codes.nbytes, store.documents)
        return store

    def centroid_scores(self, store: Store, queries: Float32Array, precision: Precision = "exact") -> TritonTable:
        own = _own_store(store)
        check_precision(precision)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        if not np.isfinite(queries).all():
            raise InputError("a query has NaN or infinity")
        rows = place(queries, self._device)
        count, tokens = len(own.centroids), len(queries)
        products = torch.empty((count, tokens), dtype=torch.float32, device=self._device)
        if tokens:
            grid = (-(-count // _PRODUCT_ROWS), -(-tokens // PIECE))
            with self._in_use():
                triton_kernels.centroid_products[grid](
                    own.centroids, rows, products, count, tokens,
                    dim=own.codec.dim, chunk=32, step=_PRODUCT_ROWS, num_warps=_WARPS,
                )  # fmt: skip
        return TritonTable(own, queries.copy(), rows, products)

    def best_centroids(self, store: Store, table: CentroidTable, count: int) -> tuple[Int64Array, Float32Array]:
        scores = _own_table(_own_store(store), table).scores
        check_count(count, len(scores))
        best = best_of_rows(scores.T, count).cpu()
        return numbers_of(best).numpy(), np.asarray(scores_of(best).numpy(), dtype=np.float32)

    def maxsim_centroids(
        self, store: Store, table: CentroidTable, query_offsets: Int64Array, candidates: Candidates
    ) -> Float32Array:
        own = _own_store(store)
        if own.codec.nbits == RAW_BITS:
            raise InputError("MaxSim of centroids needs centroid ids, which a raw codec does not store")
        there = _own_table(own, table)
        check_offsets("query_offsets", query_offsets, there.scores.shape[1])
        check_candidates(candidates, len(query_offsets) - 1, own.documents)
        work = plan(own, query_offsets, candidates, self._device)
        return _shaped(self._centroid_maxsim(own, there, work), candidates, len(query_offsets) - 1)

    def maxsim_quantized(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        candidates: Candidates,
        precision: Precision = "fast",
        table: CentroidTable | None = None,
    ) -> Float32Array:
        own = _own_store(store)
        check_precision(precision)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        check_candidates(candidates, len(query_offsets) - 1, own.documents)
        there = self.centroid_scores(own, queries) if table is None else _own_table(own, table)
        if not there.is_of(queries):
            raise InputError("the table was made for other queries")
        work = plan(own, query_offsets, candidates, self._device)
        return _shaped(self._scores(own, there, work, precision), candidates, len(query_offsets) - 1)

    def scan_costs_less(self, store: Store) -> bool:
        return store.tokens <= SCANNED_TOKENS and not _own_store(store).lies_on_host  # the bus is slower by far

    def best_of_all(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        k: int,
        mask: Uint8Array | None = None,
    ) -> list[tuple[Uint32Array, Float32Array]] | None:
        own = _own_store(store)
        check_mask(mask, own.documents)
        check_offsets("query_offsets", query_offsets, len(queries))
        table = self.centroid_scores(own, queries)
        everything = Ranges(np.array([0], np.int64), np.array([own.documents], np.int64))
        work = plan(own, query_offsets, everything, self._device)
        fast = self._scores(own, table, work, "fast").view(len(query_offsets) - 1, own.documents)
        if fast.numel() == 0:
            return [(np.zeros(0, np.uint32), np.zeros(0, np.float32))] * len(fast)

        def score_exactly(lists: Lists) -> Float32Array:
            return self.maxsim_quantized(own, queries, query_offsets, lists, "exact", table)

        return best_of_all(fast, self.score_error_bound(own, queries, query_offsets), k, mask, score_exactly)

    def best_among_probed(
        self,
        store: Store,
        queries: Float32Array,
        query_offsets: Int64Array,
        k: int,
        probing: Probing,
        mask: Uint8Array | None = None,
    ) -> list[tuple[Uint32Array, Float32Array]] | None:
        """Also None where the GPU has no room for postings any more, which a warning says once."""
        own, count = _own_store(store), len(query_offsets) - 1
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        check_mask(mask, own.documents)
        if not can_probe(own, k, probing):
            return None
        if own.tokens == 0 or len(queries) == 0:
            return [(np.zeros(0, np.uint32), np.zeros(0, np.float32))] * count
        postings = own.postings.get()
        if postings is None:
            return None
        # All that the host gives, before anything runs there: a transfer waits for what was launched before it.
        rooms = Rooms.of(own.documents, k, probing)
        layout = QueryLayout(query_offsets, sorted({rooms.pool, rooms.scored, rooms.first}), self._device)
        allowed = None if mask is None else place(mask, self._device)
        table = self.centroid_scores(own, queries)
        scoring = Scoring(
            by_centroids=lambda work: self._centroid_maxsim(own, table, work),
            fast=lambda work: self._scores(own, table, work, "fast"),
            exact=lambda work: self._scores(own, table, work, "exact"),
        )
        with self._in_use():
            found = Probe(own, postings, layout, rooms, scoring).best(table.scores, probing.probes, k, allowed)
        return answers_of(found)

    def _centroid_maxsim(self, store: TritonStore, table: TritonTable, work: Work) -> torch.Tensor:
        """Scores in the order of `work` by centroids alone, on the device."""
        partial = self._empty(work)
        ones = torch.ones(work.tokens.shape, dtype=torch.float32, device=self._device)
        if work.outputs:
            with self._in_use():
                triton_kernels.maxsim_centroids[self._grid(work)](
                    store.ids, work.first_tokens, work.token_counts, work.pieces, _columns(table.scores, work), ones,
                    partial, work.tokens.numel(), step=CENTROID_STEP, num_warps=_WARPS,
                )  # fmt: skip
        return added(partial, work)

    def _scores(self, store: TritonStore, table: TritonTable, work: Work, precision: Precision) -> torch.Tensor:
        """Scores in the order of `work`, on the device."""
        partial = self._empty(work)
        if work.outputs:
            with self._in_use():
                (self._score_exact if precision == "exact" else self._score_fast)(store, table, work, partial)
        return added(partial, work) * store.codec.norm_scale

    def score_error_bound(self, store: Store, queries: Float32Array, query_offsets: Int64Array) -> Float32Array:
        """Queries, levels and centroid scores are rounded to fp16, raw: the unit queries alone; sums are fp32."""
        own = _own_store(store)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        rows = queries.astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1)
        errors = _raw_errors(own, lengths) if own.codec.nbits == RAW_BITS else self._code_errors(own, rows, lengths)
        bounds = [errors[first:last].sum() for first, last in itertools.pairwise(query_offsets)]
        return np.nextafter(np.array(bounds, dtype=np.float32), np.float32(np.inf))

    @staticmethod
    def _code_errors(own: TritonStore, rows: Float64Array, lengths: Float64Array) -> Float64Array:
        """[Q] of query tokens [Q, D] of such lengths."""
        largest = float(np.abs(own.codec.levels).max(initial=0.0))
        products = own.max_sigma * largest * np.abs(rows).sum(axis=1)  # with codes, at most
        centroids = own.longest * lengths
        rounded = centroids * _HALF_ROUNDING + products * 2 * _HALF_ROUNDING
        small = _SMALLEST_HALF * lengths * (1 + own.max_sigma * (largest + 1) * (own.codec.dim + 1))
        sums = 2 * (own.codec.dim + 64) * 2.0**-24 * (centroids + products)  # in fp32, of fast and of exact scores
        return np.asarray(own.max_norm * own.codec.norm_scale * (1.01 * rounded + small + sums))

    def _score_fast(self, store: TritonStore, table: TritonTable, work: Work, partial: torch.Tensor) -> None:
        # In double, where no square of an fp32 value is lost.
        exact_lengths = table.queries.double().norm(dim=1)
        lengths = exact_lengths.float()
        units = torch.where(exact_lengths > 0, 1 / exact_lengths, 0.0)
        if store.codec.nbits == RAW_BITS:
            self._score_raw(store, (table.queries * units[:, None]).half(), lengths, work, partial)
            return
        width, nbits = self._width(store), store.codec.nbits
        arguments = (
            *self._stored(store, work),
            _columns((table.scores * units).half(), work),
            self._planes(store, (table.queries * units[:, None]).half(), work),
            _of_pieces(lengths, work),
            store.levels.half(),
            partial,
            work.tokens.numel(),
        )
        row = {"code_bytes": store.codec.code_bytes, "width": width}
        if nbits == 2 and width <= _MOST_BYTES_OF_PLANES:
            lookup = "" if self._interpreted else lookup_assembly(store.codec.levels)
            triton_kernels.maxsim_2bits[self._grid(work)](
                *arguments, **row, step=_STEP, lookup=lookup, num_warps=_WARPS
            )
        else:
            triton_kernels.maxsim_any[self._grid(work)](
                *arguments, **row, chunk=min(width, 32), step=SMALL_STEPS[nbits], nbits=nbits, num_warps=_WARPS
            )

    def _score_exact(self, store: TritonStore, table: TritonTable, work: Work, partial: torch.Tensor) -> None:
        if store.codec.nbits == RAW_BITS:
            self._score_raw(store, table.queries, torch.ones_like(table.queries[:, 0]), work, partial)
            return
        width = self._width(store)
        triton_kernels.maxsim_exact[self._grid(work)](
            *self._stored(store, work),
            store.centroids,
            self._planes(store, table.queries, work),
            _of_pieces(torch.ones_like(table.queries[:, 0]), work),
            store.levels,
            partial,
            dim=store.codec.dim, code_bytes=store.codec.code_bytes, width=width, chunk=min(width, 32), step=16,
            nbits=store.codec.nbits, num_warps=_WARPS,
        )  # fmt: skip

    def _score_raw(
        self, store: TritonStore, queries: torch.Tensor, lengths: torch.Tensor, work: Work, partial: torch.Tensor
    ) -> None:
        """By queries [Q, D] in fp16 or, exactly, fp32."""
        width, is_exact = self._width(store), queries.dtype == torch.float32
        triton_kernels.maxsim_raw[self._grid(work)](
            store.codes, work.first_tokens, work.token_counts, work.pieces,
            self._planes(store, queries, work), _of_pieces(lengths, work), partial,
            dim=store.codec.dim, width=width, chunk=min(width, RAW_CHUNK), step=RAW_STEPS[is_exact],
            is_exact=is_exact, num_warps=_WARPS,
        )  # fmt: skip

    @staticmethod
    def _stored(store: TritonStore, work: Work) -> tuple[torch.Tensor, ...]:
        stored = (store.codes, store.ids, store.norms, store.sigmas)
        return (*stored, work.first_tokens, work.token_counts, work.pieces)

    @staticmethod
    def _width(store: TritonStore) -> int:
        """Bytes of a row of codes (raw: dimensions), up to a power of two that a product takes."""
        columns = store.codec.dim if store.codec.nbits == RAW_BITS else store.codec.code_bytes
        return max(_SMALLEST_WIDTH, 1 << (columns - 1).bit_length())

    def _planes(self, store: TritonStore, queries: torch.Tensor, work: Work) -> torch.Tensor:
        """Queries [P, planes, width, 32]: the row of byte b in plane p is dimension b * planes + p."""
        planes, width = max(1, 8 // store.codec.nbits), self._width(store)
        padded = torch.zeros((*work.tokens.shape, width * planes), dtype=queries.dtype, device=self._device)
        padded[:, :, : store.codec.dim] = _of_pieces(queries, work)
        return padded.view(*work.tokens.shape, width, planes).permute(0, 3, 2, 1).contiguous()

    def _empty(self, work: Work) -> torch.Tensor:
        return torch.empty(work.outputs, dtype=torch.float32, device=self._device)

    @staticmethod
    def _grid(work: Work) -> tuple[int, int]:
        return work.items, len(work.pieces)


def _raw_errors(store: TritonStore, lengths: Float64Array) -> Float64Array:
    """[Q] of query tokens of such lengths: a unit query is rounded to fp16, the stored vectors are exact."""
    rounding = _HALF_ROUNDING + _SMALLEST_HALF * store.codec.dim**0.5
    sums = 6 * (store.codec.dim + 64) * 2.0**-24  # in fp32, of fast and of exact scores, and over query tokens
    return np.asarray(lengths * store.max_norm * store.codec.norm_scale * (rounding + sums) * 1.01)


def _of_pieces(values: torch.Tensor, work: Work) -> torch.Tensor:
    """Values [Q, ...] of query tokens as [P, 32, ...], zeros where a column has no token."""
    padded = torch.cat([values, values.new_zeros((1, *values.shape[1:]))])
    return padded[torch.where(work.tokens < 0, len(values), work.tokens)]


def _columns(scores: torch.Tensor, work: Work) -> torch.Tensor:
    """Scores [K, Q] as [K, 32 P]: a column for each of every piece's, zeros where it has no token."""
    padded = torch.cat([scores, scores.new_zeros((len(scores), 1))], dim=1)
    return padded[:, torch.where(work.tokens < 0, scores.shape[1], work.tokens).flatten()].contiguous()


def _shaped(scores: torch.Tensor, candidates: Candidates, queries: int) -> Float32Array:
    found = np.asarray(scores.cpu().numpy(), dtype=np.float32)
    if isinstance(candidates, Lists):
        return found
    return found.reshape(queries, int((candidates.ends - candidates.starts).sum()))


def _own_store(store: Store) -> TritonStore:
    if not isinstance(store, TritonStore):
        raise InputError(f"the store is a {type(store).__name__}; prepare it with this backend")
    return store


def _own_table(store: TritonStore, table: CentroidTable) -> TritonTable:
    if not isinstance(table, TritonTable) or table.store is not store:
        raise InputError("the table is not one of this store; make it with centroid_scores of this backend")
    return table
