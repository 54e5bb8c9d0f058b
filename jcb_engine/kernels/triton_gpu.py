"""The Triton backend: MaxSim and whole searches on one GPU, without a CUDA compiler.

Needs torch and triton. Importing this module raises BackendUnavailableError where one is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

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
    smallest_query,
)
from jcb_engine.kernels.placement import warn_of_codes_on_host
from jcb_engine.types import Float16Array, Float32Array, Int64Array, Uint8Array, Uint32Array

try:
    import torch

    from jcb_engine.kernels.triton_building import (
        DeviceCentroids,
        DeviceCodec,
        KeptOnDevice,
        encoded,
        nearest,
        quantized,
    )
    from jcb_engine.kernels.triton_keys import best_of_rows, numbers_of, scores_of
    from jcb_engine.kernels.triton_probe import Probe, Rooms, answers_of, can_probe
    from jcb_engine.kernels.triton_sample import DeviceVectors
    from jcb_engine.kernels.triton_scan import best_of_all
    from jcb_engine.kernels.triton_scoring import (
        IS_INTERPRETED,
        centroid_maxsim,
        centroid_products,
        error_bounds,
        maxsim,
    )
    from jcb_engine.kernels.triton_store import TritonStore, TritonTable, place, prepare_store
    from jcb_engine.kernels.triton_work import QueryLayout, plan
except ImportError as error:
    raise BackendUnavailableError(
        f"the Triton kernels need torch and triton ({error}): pip install 'jcb-engine[gpu]'"
    ) from error

# Up to so many tokens everything is scanned. Predicted, not measured (python -m benchmarks.gpu.model): 50 Gtoken/s are
# .9 ms. A search among candidates takes as long: it launches some two hundred programs, most of them torch's.
SCANNED_TOKENS = 45_000_000
_SPECIAL_COUNTS = (1, 2, 16)  # Triton compiles for a number that is 1, for one that 16 divides, and for others


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
        if self._device.type not in ("cuda", "cpu") or (self._device.type == "cpu" and not IS_INTERPRETED):
            raise BackendUnavailableError(f"the Triton kernels run on a GPU, not on {device}; name one, such as cuda:0")
        self._centroids = KeptOnDevice(DeviceCentroids.copied, self._device)
        self._codecs = KeptOnDevice(DeviceCodec, self._device)

    @property
    def name(self) -> str:
        where = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "interpreter"
        return f"triton/{where}"

    def _in_use(self) -> AbstractContextManager[object]:
        """Triton launches on the current GPU of the thread."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def nearest(self, vectors: Float32Array, centroids: Float32Array) -> Uint32Array:
        with self._in_use():
            return nearest(vectors, centroids, self._centroids)

    def hold(self, vectors: Float32Array, most_on_device: int | None = None) -> DeviceVectors:
        """most_on_device: bytes that they may take on the GPU, None for what is free; else they are sent every time."""
        return DeviceVectors(vectors, self._device, most_on_device)

    def quantize(
        self, vectors: Float32Array, centroid_ids: Uint32Array, codec: CodecArrays
    ) -> tuple[Uint8Array, Float16Array, Float16Array]:
        if len(centroid_ids) and int(centroid_ids.max()) >= len(codec.centroids):
            raise CorruptIndexError(f"centroid {int(centroid_ids.max())} of {len(codec.centroids)} was given")
        with self._in_use():
            return quantized(vectors, centroid_ids, codec, self._codecs)

    def encode(
        self, vectors: Float32Array, codec: CodecArrays
    ) -> tuple[Uint32Array, Uint8Array, Float16Array, Float16Array]:
        with self._in_use():
            return encoded(vectors, codec, self._codecs)

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
        with self._in_use():
            return TritonTable(own, queries.copy(), rows, centroid_products(own, rows))

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
        with self._in_use():
            scores = centroid_maxsim(own, there, work)
        return _shaped(scores, candidates, len(query_offsets) - 1)

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
        with self._in_use():
            scores = maxsim(own, there, work, precision)
        return _shaped(scores, candidates, len(query_offsets) - 1)

    def scan_is_cheap(self, store: Store) -> bool:
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
        with self._in_use():
            fast = maxsim(own, table, work, "fast").view(len(query_offsets) - 1, own.documents)
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
        with self._in_use():
            found = Probe(own, table, postings, layout, rooms).best(probing.probes, k, allowed)
        return answers_of(found)

    def warm(self, store: Store) -> None:
        """Compiled programs are on disk from then on, in Triton's cache."""
        own = _own_store(store)
        if own.tokens == 0:
            return
        filled = np.flatnonzero(np.diff(own.doc_offsets))[:1]
        queries, offsets = smallest_query(own.codec.dim)
        lists = Lists(filled.astype(np.uint32), np.array([0, 1], np.int64))
        for tokens in _SPECIAL_COUNTS:
            self.centroid_scores(own, np.eye(tokens, own.codec.dim, dtype=np.float32))
        table = self.centroid_scores(own, queries)
        for precision in ("fast", "exact"):
            self.maxsim_quantized(own, queries, offsets, lists, precision, table)
        if own.codec.nbits != RAW_BITS:
            self.maxsim_centroids(own, table, offsets, lists)
            for mask in (None, np.full(-(-own.documents // 8), 255, np.uint8)):
                self.best_among_probed(own, queries, offsets, 1, Probing(probes=1, pool=1, documents=1), mask)

    def score_error_bound(self, store: Store, queries: Float32Array, query_offsets: Int64Array) -> Float32Array:
        own = _own_store(store)
        check_array("queries", queries, np.float32, (None, own.codec.dim))
        check_offsets("query_offsets", query_offsets, len(queries))
        return error_bounds(own, queries, query_offsets)


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
