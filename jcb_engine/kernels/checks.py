"""What an adapter checks once, before any native call: shapes, element types, memory order, offsets.

Contents that come from files (document numbers, centroid ids, offsets of documents and postings) are not looked at
here: kernels check those where they use them.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import numpy.typing as npt

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels.interface import RAW_BITS, Candidates, CentroidLists, CodecArrays, Lists, SegmentArrays
from jcb_engine.types import AnyArray, Int64Array

CODE_WIDTHS = (1, 2, 4, 8)


def check_array(name: str, array: AnyArray, dtype: npt.DTypeLike, shape: tuple[int | None, ...]) -> None:
    """Raise InputError unless `array` is C-contiguous, aligned, of that dtype and shape (None: any length)."""
    # Twenty of these in every search: hence no generator, and the message is put together when it is needed.
    fits = array.dtype == dtype and len(array.shape) == len(shape)
    if fits:
        for wanted, length in zip(shape, array.shape, strict=True):
            fits = fits and (wanted is None or wanted == length)
    if not fits:
        wanted_shape = ", ".join("any" if length is None else str(length) for length in shape)
        raise InputError(f"{name} is {array.dtype} {list(array.shape)}; expected {np.dtype(dtype)} [{wanted_shape}]")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise InputError(f"{name} is not C-contiguous and aligned; pass numpy.ascontiguousarray of it")


def check_offsets(name: str, offsets: AnyArray, total: int, texts: int | None = None) -> None:
    """Raise InputError unless `offsets` is int64 [texts + 1], rising from 0 to `total`."""
    check_array(name, offsets, np.int64, (None if texts is None else texts + 1,))
    values = cast(Int64Array, offsets)
    ends_fit = len(values) > 0 and values[0] == 0 and values[-1] == total
    if not ends_fit or (len(values) > 2 and (values[1:] < values[:-1]).any()):
        raise InputError(f"{name} must rise from 0 to {total}; it is {values.tolist() if len(values) < 8 else values}")


def check_precision(precision: str) -> None:
    """Raise InputError unless it is fast or exact."""
    if precision not in ("fast", "exact"):
        raise InputError(f"precision is {precision!r}; allowed are fast and exact")


def check_centroid_lists(lists: CentroidLists) -> None:
    """Raise InputError unless the lists hold as many centroids as ids, and none is empty."""
    check_array("centroids", lists.centroids, np.float32, (None, None))
    check_array("ids", lists.ids, np.uint32, (len(lists.centroids),))
    check_offsets("offsets", lists.offsets, len(lists.ids))
    if len(lists.offsets) < 2 or (np.diff(lists.offsets) == 0).any():
        raise InputError("a list of centroids is empty")


def check_probes(probes: Int64Array, vectors: int, lists: int) -> None:
    """Raise InputError unless `probes` is int64 [vectors, at least 1], numbers of lists."""
    check_array("probes", probes, np.int64, (vectors, None))
    if probes.shape[1] < 1 or (probes < 0).any() or (probes >= lists).any():
        raise InputError(f"probes must be at least one number of 0:{lists} per vector; they are {probes}")


def check_candidates(candidates: Candidates, queries: int, documents: int) -> None:
    """Raise InputError unless the candidates are well formed for so many queries and documents of a store.

    The numbers inside lists are left to the kernel; ranges are few and checked here.
    """
    if isinstance(candidates, Lists):
        check_array("candidates.documents", candidates.documents, np.uint32, (None,))
        check_offsets("candidates.list_offsets", candidates.list_offsets, len(candidates.documents), queries)
        return
    check_array("candidates.starts", candidates.starts, np.int64, (None,))
    check_array("candidates.ends", candidates.ends, np.int64, (len(candidates.starts),))
    starts, ends = candidates.starts, candidates.ends
    if np.any(starts < 0) or np.any(ends < starts) or np.any(ends > documents):
        raise InputError(f"candidate ranges must lie in 0:{documents}; they are {list(zip(starts, ends, strict=True))}")


def check_count(count: int, centroids: int) -> None:
    """Raise InputError unless so many of the centroids can be picked."""
    if not 1 <= count <= centroids:
        raise InputError(f"count is {count}; allowed is 1 to the number of centroids, {centroids}")


def check_codec(codec: CodecArrays) -> None:
    """Raise InputError unless the arrays of the codec have the shapes of CodecArrays."""
    if codec.nbits not in (*CODE_WIDTHS, RAW_BITS):
        raise InputError(f"a codec of {codec.nbits} bits is unknown; allowed are 1, 2, 4, 8 and {RAW_BITS}")
    if codec.dim < 1 or not (math.isfinite(codec.norm_scale) and codec.norm_scale > 0):
        raise InputError(f"dim is {codec.dim} and norm_scale {codec.norm_scale}; both must be positive")
    levels = 0 if codec.nbits == RAW_BITS else 2**codec.nbits
    check_array("codec.centroids", codec.centroids, np.float32, (None, codec.dim))
    check_array("codec.cutoffs", codec.cutoffs, np.float32, (max(levels - 1, 0),))
    check_array("codec.levels", codec.levels, np.float32, (levels,))


def check_segment(codec: CodecArrays, segment: SegmentArrays) -> None:
    """Raise InputError unless the arrays of the segment have the shapes of SegmentArrays under this codec."""
    raw = codec.nbits == RAW_BITS
    tokens = len(segment.codes)
    stored = 0 if raw else tokens
    check_array("doc_offsets", segment.doc_offsets, np.int64, (None,))
    if len(segment.doc_offsets) == 0:
        raise InputError("doc_offsets is empty; it has one entry more than there are documents")
    check_array("codes", segment.codes, *_code_form(codec))
    id_dtype = np.uint16 if segment.centroid_ids.dtype == np.uint16 else np.uint32
    check_array("centroid_ids", segment.centroid_ids, id_dtype, (stored,))
    check_array("sigmas", segment.sigmas, np.float16, (stored,))
    check_array("norms", segment.norms, np.float16, (stored,))
    check_array("posting_offsets", segment.posting_offsets, np.int64, (len(codec.centroids) + 1,))
    check_array("posting_documents", segment.posting_documents, np.uint32, (None,))
    if not (0 <= segment.max_sigma < math.inf and 0 <= segment.max_norm < math.inf):
        raise CorruptIndexError(f"a segment's largest sigma is {segment.max_sigma} and norm {segment.max_norm}")


def _code_form(codec: CodecArrays) -> tuple[npt.DTypeLike, tuple[int | None, ...]]:
    if codec.nbits == RAW_BITS:
        return np.float16, (None, codec.dim)
    return np.uint8, (None, codec.code_bytes)


def check_mask(mask: AnyArray | None, documents: int) -> None:
    """A bitmap of a store's documents, or None."""
    if mask is None:
        return
    check_array("mask", mask, np.uint8, (None,))
    if len(mask) * 8 < documents:
        raise InputError(f"mask has {len(mask) * 8} bits; the store has {documents} documents")
