"""What arrays a segment and a codec have, with which dtypes and shapes, and what must hold inside them.

Notation as in types.py: N documents, T tokens, K centroids, B code bytes per token, D dimensions, P postings.

    doc_offsets        int64 [N + 1]      document i owns tokens doc_offsets[i]:doc_offsets[i + 1]; required
    centroid_ids       uint16, uint32 [T] or [0] (raw)
    codes              uint8 [T, B] or float16 [T, D] (raw)
    sigmas, norms      float16 [T] or [0] (raw)
    posting_offsets    int64 [K + 1]      centroid c owns postings posting_offsets[c]:posting_offsets[c + 1]
    posting_documents  uint32 [P]         ascending and unique inside a list
    parents            uint32 [N]         rank of the document's parent among the parents of the segment
    encodings          float16 [N, F]     MUVERA's encodings of the documents, where the index has them

    centroids          float32 [K, D]     of a codec
    rotation           float32 [D, D]
    cutoffs, levels    float32 [any]

Shapes are checked when an index opens (it reads no contents), contents by `verify`. Kernels check ids themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_Values = npt.NDArray[Any]

_BLOCK_ROWS = 1 << 20  # contents are checked in blocks of bounded memory

Shape = tuple[np.dtype[np.generic], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes that the arrays of a segment must agree with. `centroids` is None for a codec without centroids."""

    documents: int
    tokens: int
    centroids: int | None


@dataclass(frozen=True, slots=True)
class _Rule:
    dtypes: tuple[str, ...]
    dimensions: int
    rows: Callable[[Counts], tuple[int, ...]] | None  # allowed numbers of rows, None: any


_SEGMENT_RULES = {
    "doc_offsets": _Rule(("int64",), 1, lambda counts: (counts.documents + 1,)),
    "centroid_ids": _Rule(("uint16", "uint32"), 1, lambda counts: (counts.tokens, 0)),
    "codes": _Rule(("uint8", "float16"), 2, lambda counts: (counts.tokens,)),
    "sigmas": _Rule(("float16",), 1, lambda counts: (counts.tokens, 0)),
    "norms": _Rule(("float16",), 1, lambda counts: (counts.tokens, 0)),
    "posting_offsets": _Rule(("int64",), 1, lambda counts: ((counts.centroids or 0) + 1,)),
    "posting_documents": _Rule(("uint32",), 1, None),
    "parents": _Rule(("uint32",), 1, lambda counts: (counts.documents,)),
    "encodings": _Rule(("float16",), 2, lambda counts: (counts.documents,)),
}
_CODEC_RULES = {
    "centroids": _Rule(("float32",), 2, None),
    "rotation": _Rule(("float32",), 2, None),
    "cutoffs": _Rule(("float32",), 1, None),
    "levels": _Rule(("float32",), 1, None),
}


def shape_of(array: _Values) -> Shape:
    return array.dtype, array.shape


def segment_shape_problems(shapes: Mapping[str, Shape], counts: Counts) -> list[str]:
    """What is wrong with the dtypes and shapes of a segment's arrays; arrays of other names are not judged."""
    missing = [] if "doc_offsets" in shapes else ["array doc_offsets is missing"]
    return missing + [
        problem
        for name, shape in shapes.items()
        if name in _SEGMENT_RULES
        for problem in _shape_problems(name, shape, _SEGMENT_RULES[name], counts)
    ]


def codec_shape_problems(shapes: Mapping[str, Shape]) -> list[str]:
    """What is wrong with the dtypes and shapes of a codec's arrays; arrays of other names are not judged."""
    counts = Counts(0, 0, None)
    problems = [
        problem
        for name, shape in shapes.items()
        if name in _CODEC_RULES
        for problem in _shape_problems(name, shape, _CODEC_RULES[name], counts)
    ]
    if "rotation" in shapes and len(set(shapes["rotation"][1])) != 1:
        problems.append(f"array rotation has shape {list(shapes['rotation'][1])}; expected a square")
    return problems


def _shape_problems(name: str, shape: Shape, rule: _Rule, counts: Counts) -> Iterator[str]:
    dtype, lengths = shape
    if dtype.name not in rule.dtypes:
        yield f"array {name} has dtype {dtype.name}; expected {' or '.join(rule.dtypes)}"
    if len(lengths) != rule.dimensions:
        yield f"array {name} has shape {list(lengths)}; expected {rule.dimensions} dimension(s)"
    elif rule.rows is not None and lengths[0] not in rule.rows(counts):
        expected = " or ".join(f"{rows:,}" for rows in dict.fromkeys(rule.rows(counts)))
        yield f"array {name} has {lengths[0]:,} rows; expected {expected}"


def content_problems(arrays: Mapping[str, _Values], counts: Counts) -> Iterator[str]:
    """What is wrong inside the arrays of a segment whose shapes are sound. Reads all but the codes."""
    yield from _offset_problems("doc_offsets", arrays["doc_offsets"], counts.tokens)
    if "centroid_ids" in arrays and counts.centroids is not None:
        yield from _limit_problems("centroid_ids", arrays["centroid_ids"], counts.centroids)
    if "parents" in arrays:
        yield from _limit_problems("parents", arrays["parents"], counts.documents)
    for name in ("sigmas", "norms"):
        if name in arrays:
            yield from _size_problems(name, arrays[name])
    if ("posting_offsets" in arrays) != ("posting_documents" in arrays):
        yield "posting_offsets and posting_documents come together; one is missing"
    elif "posting_offsets" in arrays:
        yield from _posting_problems(arrays["posting_offsets"], arrays["posting_documents"], counts.documents)


def _offset_problems(name: str, offsets: _Values, end: int) -> Iterator[str]:
    if offsets[0] != 0 or offsets[-1] != end:
        yield f"{name} goes from {offsets[0]} to {offsets[-1]}; expected 0 to {end}"
    for start in range(0, len(offsets), _BLOCK_ROWS):
        block = offsets[start : start + _BLOCK_ROWS + 1]
        falling = np.flatnonzero(block[1:] < block[:-1])
        if len(falling):
            yield f"{name} falls after entry {start + int(falling[0])}; expected rising offsets"
            return


def _limit_problems(name: str, values: _Values, limit: int) -> Iterator[str]:
    for start in range(0, len(values), _BLOCK_ROWS):
        outside = np.flatnonzero(values[start : start + _BLOCK_ROWS] >= limit)
        if len(outside):
            row = start + int(outside[0])
            yield f"{name}[{row}] is {values[row]}; expected less than {limit}"
            return


def _size_problems(name: str, values: _Values) -> Iterator[str]:
    for start in range(0, len(values), _BLOCK_ROWS):
        block = values[start : start + _BLOCK_ROWS]
        wrong = np.flatnonzero(~(np.isfinite(block) & (block >= 0)))
        if len(wrong):
            row = start + int(wrong[0])
            yield f"{name}[{row}] is {values[row]}; expected a finite number from 0"
            return


def _posting_problems(offsets: _Values, documents: _Values, limit: int) -> Iterator[str]:
    problems = [*_offset_problems("posting_offsets", offsets, len(documents))]
    problems += _limit_problems("posting_documents", documents, limit)
    yield from problems
    if problems:
        return
    for start in range(0, len(documents), _BLOCK_ROWS):
        block = documents[start : start + _BLOCK_ROWS + 1].astype(np.int64)
        # Entry p + 1 may be lower than entry p only where a list starts.
        steps = start + 1 + np.flatnonzero(block[1:] <= block[:-1])
        if len(steps):
            places = np.searchsorted(offsets, steps)
            inside = steps[offsets[places] != steps]
            if len(inside):
                yield f"posting_documents[{int(inside[0])}] does not rise inside its list"
                return
