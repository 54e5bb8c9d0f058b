"""Signatures of the extension built from csrc/. Arrays are C-contiguous; halves travel as their bits (uint16).

Shapes are not checked there: jcb_engine/kernels/cpu.py does that. Arrays for results come last and are written to.
"""

from jcb_engine.types import AnyArray, Float32Array, Int32Array, Int64Array, Uint8Array, Uint32Array

class Machine:
    def __init__(self, instruction_set: str, threads: int) -> None: ...
    @property
    def instruction_set(self) -> str: ...
    @property
    def threads(self) -> int: ...

class Codec:
    def __init__(
        self, nbits: int, centroids: Float32Array, cutoffs: Float32Array, levels: Float32Array, norm_scale: float
    ) -> None: ...

class Store:
    def __init__(self, codec: Codec) -> None: ...
    def add_segment(
        self,
        doc_offsets: Int64Array,
        codes: Uint8Array,
        centroid_ids_16: AnyArray | None,
        centroid_ids_32: AnyArray | None,
        sigmas: AnyArray,
        norms: AnyArray,
        posting_offsets: Int64Array,
        posting_documents: Uint32Array,
        max_sigma: float,
        max_norm: float,
    ) -> None: ...

class Candidates:
    @staticmethod
    def lists(documents: Uint32Array, list_offsets: Int64Array) -> Candidates: ...
    @staticmethod
    def ranges(starts: Int64Array, ends: Int64Array) -> Candidates: ...

class Table:
    @property
    def centroid_count(self) -> int: ...
    @property
    def query_tokens(self) -> int: ...
    @property
    def is_exact(self) -> bool: ...
    def is_of(self, store: Store) -> bool: ...
    def to_array(self) -> Float32Array: ...

def nearest_centroids(
    machine: Machine, vectors: Float32Array, centroids: Float32Array, count: int, ids: Int64Array, scores: Float32Array
) -> None: ...
def nearest_in_lists(
    machine: Machine,
    vectors: Float32Array,
    centroids: Float32Array,
    centroid_ids: Uint32Array,
    offsets: Int64Array,
    probes: Int64Array,
    ids: Uint32Array,
) -> None: ...
def quantize(
    machine: Machine,
    codec: Codec,
    vectors: Float32Array,
    centroid_ids: Uint32Array,
    codes: Uint8Array,
    sigmas: AnyArray,
    norms: AnyArray,
) -> None: ...
def dequantize(
    machine: Machine,
    codec: Codec,
    centroid_ids: Uint32Array,
    codes: Uint8Array,
    sigmas: AnyArray,
    norms: AnyArray,
    vectors: Float32Array,
) -> None: ...
def centroid_scores(machine: Machine, store: Store, queries: Float32Array, exact: bool) -> Table: ...
def inner_products(machine: Machine, rows: Float32Array, columns: Float32Array, products: Float32Array) -> None: ...
def best_centroids(machine: Machine, table: Table, ids: Int64Array, scores: Float32Array) -> None: ...
def accumulate_postings(
    machine: Machine,
    store: Store,
    probes: Int64Array,
    probe_scores: Float32Array,
    frontier: Float32Array,
    query_offsets: Int64Array,
    limit: int,
    mask: Uint8Array | None,
) -> tuple[Uint32Array, Int64Array, Float32Array]: ...
def maxsim_centroids(
    machine: Machine,
    store: Store,
    table: Table,
    query_offsets: Int64Array,
    candidates: Candidates,
    scores: Float32Array,
) -> None: ...
def maxsim_quantized(
    machine: Machine,
    store: Store,
    queries: Float32Array,
    query_offsets: Int64Array,
    candidates: Candidates,
    exact: bool,
    table: Table | None,
    scores: Float32Array,
) -> None: ...
def maxsim_raw(
    machine: Machine,
    store: Store,
    queries: Float32Array,
    query_offsets: Int64Array,
    candidates: Candidates,
    scores: Float32Array,
) -> None: ...
def score_error_bound(
    machine: Machine, store: Store, queries: Float32Array, query_offsets: Int64Array, bounds: Float32Array
) -> None: ...
def maxsim_vectors(
    machine: Machine,
    queries: Float32Array,
    query_offsets: Int64Array,
    vectors: Float32Array,
    doc_offsets: Int64Array,
    scores: Float32Array,
    argmax: Int32Array | Int64Array | None,
) -> None: ...
def maxsim_vectors_backward(
    machine: Machine,
    grad: Float32Array,
    queries: Float32Array,
    query_offsets: Int64Array,
    vectors: Float32Array,
    doc_offsets: Int64Array,
    argmax: Int32Array | Int64Array,
    grad_queries: Float32Array | None,
    grad_vectors: Float32Array | None,
) -> None: ...
