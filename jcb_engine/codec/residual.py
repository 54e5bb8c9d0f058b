"""The residual codec: v ~ norm * (centroid + sigma * level[code]) in a rotated basis (see ARCHITECTURE.md, "Codec")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from jcb_engine.codec.assignment import CentroidAssigner
from jcb_engine.codec.centroids import train_centroids
from jcb_engine.codec.levels import gaussian_levels
from jcb_engine.codec.rotation import random_rotation
from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels.interface import RAW_BITS, AssigningBackend, Backend, CodecArrays
from jcb_engine.types import AnyArray, Float16Array, Float32Array, Int32Array, JsonValue, Uint8Array, Uint32Array

BIT_WIDTHS = (1, 2, 4, 8, RAW_BITS)
LARGEST_HALF = 65_504.0
_ROOM = 32_768.0  # how much longer than the unit of norms a vector may be; decoding may stretch it a little
_ORDINARY_NORMS = (2.0**-6, 2.0**8)  # raw vectors of such norms need no scale: fp16 has room on both sides
_NEAR_ONE = (2.0**-6, 2.0**6)  # largest values of rows that need no scaling
_ROWS_AT_ONCE = 65_536  # rows rotated at a time, so that a large sample needs no second copy of itself


@dataclass(frozen=True, slots=True)
class EncodedTokens:
    """What a segment stores of T tokens; arrays as in SegmentArrays. Raw: fp16 codes, empty sigmas and norms."""

    centroid_ids: Uint32Array  # [T], also for raw codecs: postings are made of them
    codes: Uint8Array | Float16Array
    sigmas: Float16Array
    norms: Float16Array


@dataclass(frozen=True)
class ResidualCodec:
    """Centroids, rotation and level table; a value object, stored in the index beside the segments that use it.

    rotation: [D, D] float32 orthonormal, or None (raw vectors, imported indexes).
    """

    arrays: CodecArrays
    rotation: Float32Array | None = field(repr=False)
    seed: int

    @property
    def dim(self) -> int:
        return self.arrays.dim

    @property
    def nbits(self) -> int:
        return self.arrays.nbits

    @property
    def is_raw(self) -> bool:
        return self.arrays.nbits == RAW_BITS

    @cached_property
    def _assigner(self) -> CentroidAssigner:
        return CentroidAssigner(self.arrays.centroids)

    def rotate(self, vectors: Float32Array, backend: Backend) -> Float32Array:
        """vectors [T, D] in the basis of the codec. With queries rotated too, inner products stay what they were.

        By the backend, whose product of two vectors does not depend on their neighbours: equal vectors stay equal. And
        numpy's BLAS leaves threads spinning after each product, on the very processors that the kernels need next: on
        two cores they took 45 % of the processor time of a search.
        """
        vectors = np.ascontiguousarray(vectors)
        return vectors if self.rotation is None else backend.inner_products(vectors, self._rotation_columns)

    def unrotate(self, vectors: Float32Array) -> Float32Array:
        """vectors [T, D] of the basis of the codec, back in their own."""
        return vectors if self.rotation is None else vectors @ self.rotation.T

    @cached_property
    def _rotation_columns(self) -> Float32Array:
        assert self.rotation is not None, "asked for where there is a rotation"
        return np.ascontiguousarray(self.rotation.T)

    def encode(self, vectors: Float32Array, backend: Backend) -> EncodedTokens:
        """Compress vectors [T, D] float32 of any norm, zero included.

        Raises InputError on NaN, infinities, and norms that differ from the sample's by more than fp16 can say.
        """
        _check_finite(vectors)
        near_one, exponents = _scaled_near_one(vectors)
        rotated = self.rotate(near_one, backend)
        if self.is_raw:
            nothing = np.zeros(0, dtype=np.float16)
            return EncodedTokens(self._assigner.assign(_unit(rotated), backend), self._raw(vectors), nothing, nothing)
        centroid_ids, codes, sigmas, near_norms = self._compressed(rotated, backend)
        # Both factors are powers of two: nothing is rounded a second time.
        norms = np.ldexp(near_norms.astype(np.float64), exponents) / self.arrays.norm_scale
        if norms.max(initial=0) > LARGEST_HALF:
            self._refuse_norm(largest_norm(vectors))
        return EncodedTokens(centroid_ids, codes, sigmas, norms.astype(np.float16))

    def _compressed(
        self, rotated: Float32Array, backend: Backend
    ) -> tuple[Uint32Array, Uint8Array, Float16Array, Float16Array]:
        """Ids, codes, sigmas and norms, in units of 1, of vectors near 1 in the codec's basis."""
        if isinstance(backend, AssigningBackend):
            return backend.encode(rotated, self._arrays_near_one)
        centroid_ids = self._assigner.assign(_unit(rotated), backend)
        return centroid_ids, *backend.quantize(rotated, centroid_ids, self._arrays_near_one)

    @cached_property
    def _arrays_near_one(self) -> CodecArrays:
        """With norms in units of 1. Always the same object: a backend may keep a copy of it on its device."""
        return replace(self.arrays, norm_scale=1.0)

    def _raw(self, vectors: Float32Array) -> Float16Array:
        with np.errstate(over="ignore"):
            halves = (vectors / np.float32(self.arrays.norm_scale)).astype(np.float16)
        if not np.isfinite(halves).all():
            self._refuse_norm(float(np.abs(vectors).max()))
        return halves

    def _refuse_norm(self, largest: float) -> None:
        raise InputError(
            f"a vector has the size {largest:.3g}; with most near {self.arrays.norm_scale:.3g} the largest that "
            f"can be stored is {LARGEST_HALF * self.arrays.norm_scale:.3g}: normalise the vectors first"
        )

    def to_stored(self) -> tuple[dict[str, AnyArray], dict[str, JsonValue]]:
        """Arrays and properties as the storage keeps them."""
        arrays: dict[str, AnyArray] = {
            "centroids": self.arrays.centroids,
            "cutoffs": self.arrays.cutoffs,
            "levels": self.arrays.levels,
        }
        if self.rotation is not None:
            arrays["rotation"] = self.rotation
        properties: dict[str, JsonValue] = {
            "dim": self.dim,
            "nbits": self.nbits,
            "norm_scale": self.arrays.norm_scale,
            "rotation": "none" if self.rotation is None else "dense",
            "seed": self.seed,
        }
        return arrays, properties

    @classmethod
    def from_stored(cls, arrays: Mapping[str, AnyArray], properties: Mapping[str, JsonValue]) -> ResidualCodec:
        """The inverse of to_stored; raises CorruptIndexError where shapes and properties do not fit each other."""
        dim, nbits = _whole(properties, "dim"), _whole(properties, "nbits")
        norm_scale, kind = properties.get("norm_scale"), properties.get("rotation")
        if nbits not in BIT_WIDTHS or dim < 1 or kind not in ("none", "dense"):
            raise CorruptIndexError(f"the codec says dim={dim}, nbits={nbits}, rotation={kind!r}; none such is written")
        if not isinstance(norm_scale, (int, float)) or not 0 < norm_scale < float("inf"):
            raise CorruptIndexError(f"the codec says norm_scale={norm_scale!r}; it must be a positive number")
        levels = 0 if nbits == RAW_BITS else 2**nbits
        centroids = _float32(arrays, "centroids", (None, dim))
        codec_arrays = CodecArrays(
            dim=dim,
            nbits=nbits,
            centroids=centroids,
            cutoffs=_float32(arrays, "cutoffs", (max(levels - 1, 0),)),
            levels=_float32(arrays, "levels", (levels,)),
            norm_scale=float(norm_scale),
        )
        rotation = _float32(arrays, "rotation", (dim, dim)) if kind == "dense" else None
        return cls(codec_arrays, rotation, _whole(properties, "seed"))


def train_codec(
    sample: Float32Array,
    nbits: int,
    centroid_count: int,
    seed: int,
    backend: Backend,
    longest: float | None = None,
) -> ResidualCodec:
    """Fit a codec on sample vectors [S, D] float32. The sample is overwritten (normalised and rotated in place).

    longest: the largest norm that will have to be stored; None: what is not far longer than the sample's.
    The array may be a writable map of a file: no second copy of it is made in memory.
    """
    if nbits not in BIT_WIDTHS:
        raise InputError(f"nbits is {nbits}; it must be one of {', '.join(map(str, BIT_WIDTHS))}")
    dim = sample.shape[1]
    rotation = None if nbits == RAW_BITS else random_rotation(dim, seed)
    norm_scale = _norm_scale(_rotate_in_place(sample, rotation), longest, nbits)
    centroids = train_centroids(sample, centroid_count, seed, backend)
    nothing = np.zeros(0, dtype=np.float32)
    cutoffs, levels = (nothing, nothing) if nbits == RAW_BITS else gaussian_levels(nbits)
    return ResidualCodec(CodecArrays(dim, nbits, centroids, cutoffs, levels, norm_scale), rotation, seed)


def largest_norm(vectors: Float32Array) -> float:
    """Norm of the longest of vectors [T, D], without overflow; 0 for none."""
    near_one, exponents = _scaled_near_one(vectors)
    return float(np.ldexp(_norms(near_one).astype(np.float64), exponents).max(initial=0))


def _norm_scale(typical: float, longest: float | None, nbits: int) -> float:
    """A power of two: the unit of stored norms (raw: of stored values), so that both ends fit fp16."""
    # fp16 values of an ordinary size are kept as they are, so that fp16 input comes back bit for bit.
    scale = 1.0 if nbits == RAW_BITS and _ORDINARY_NORMS[0] <= typical <= _ORDINARY_NORMS[1] else typical
    room = LARGEST_HALF if nbits == RAW_BITS else _ROOM
    if longest is not None and longest > scale * room:
        scale = float(2.0 ** np.ceil(np.log2(longest / room)))
    return float(np.clip(scale, 2.0**-100, 2.0**112))


def _scaled_near_one(vectors: Float32Array) -> tuple[Float32Array, Int32Array]:
    """Rows near 1, and the powers of two they were divided by: squares, and norms as fp16, stay in range."""
    largest = _largest_values(vectors)
    if ((largest == 0) | ((largest > _NEAR_ONE[0]) & (largest < _NEAR_ONE[1]))).all():
        return vectors, np.zeros(len(vectors), dtype=np.int32)
    exponents = np.frexp(largest)[1].astype(np.int32)
    return np.ldexp(vectors, -exponents[:, None]), exponents


def _largest_values(vectors: Float32Array) -> Float32Array:
    """[T] the largest size of any value of each row; NaN where one is."""
    return np.asarray(np.maximum(vectors.max(axis=1, initial=0), -vectors.min(axis=1, initial=0)))


def _norms(vectors: Float32Array) -> Float32Array:
    """[T] norms of vectors near 1."""
    return np.asarray(np.sqrt(np.einsum("td,td->t", vectors, vectors)), dtype=np.float32)


def _rotate_in_place(sample: Float32Array, rotation: Float32Array | None) -> float:
    """Make rows unit and rotated; return the power of two nearest their median norm."""
    norms = np.empty(len(sample), dtype=np.float64)
    for start in range(0, len(sample), _ROWS_AT_ONCE):
        rows = sample[start : start + _ROWS_AT_ONCE]
        _check_finite(rows)
        near_one, exponents = _scaled_near_one(rows)
        norms[start : start + len(rows)] = np.ldexp(_norms(near_one).astype(np.float64), exponents)
        units = _unit(near_one)
        sample[start : start + len(rows)] = units if rotation is None else units @ rotation
    typical = float(np.median(norms[norms > 0])) if (norms > 0).any() else 1.0
    return float(2.0 ** np.round(np.log2(typical)))


def _unit(vectors: Float32Array) -> Float32Array:
    norms = _norms(vectors)[:, None]
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def _check_finite(vectors: Float32Array) -> None:
    finite = np.isfinite(_largest_values(vectors))
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise InputError(f"token vector {row} holds NaN or infinity; only finite values can be indexed")


def _whole(properties: Mapping[str, JsonValue], name: str) -> int:
    value = properties.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CorruptIndexError(f"the codec says {name}={value!r}; it must be a whole number")
    return value


def _float32(arrays: Mapping[str, AnyArray], name: str, shape: tuple[int | None, ...]) -> Float32Array:
    array = arrays.get(name)
    if array is None:
        raise CorruptIndexError(f"the codec lacks its array {name}")
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if array.dtype != np.float32 or not fits or (shape[0] is None and array.shape[0] == 0):
        raise CorruptIndexError(
            f"the codec's array {name} is {array.dtype}{list(array.shape)}; expected float32{list(shape)}"
        )
    return np.asarray(array)
