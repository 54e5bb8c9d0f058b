"""What a build can be told, checked before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from jcb_engine.codec import BIT_WIDTHS
from jcb_engine.codec.fde import FixedDimensionalEncoding
from jcb_engine.errors import InputError

OnDuplicate: TypeAlias = Literal["error", "skip", "last"]
DEFAULT_NBITS = 4
DEFAULT_MAX_RAM_BYTES = 2 * 1024**3
_SMALLEST_RAM_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class MuveraOptions:
    """One vector per document beside its token vectors, to find candidates by (see codec/fde.py).

    The defaults are 5,120 values, 10,240 bytes, per document; final_dim makes them fewer by a count sketch.
    factory: how FAISS searches them: "Flat" compares all, any other factory string is trained when first searched.
    """

    repetitions: int = 20
    simhash_bits: int = 4
    projection_dim: int = 16
    final_dim: int | None = None
    factory: str = "Flat"

    def encoding(self, dim: int, seed: int) -> FixedDimensionalEncoding:
        """For token vectors of `dim` dimensions. Raises InputError where it cannot be."""
        return FixedDimensionalEncoding(
            dim, self.repetitions, self.simhash_bits, min(self.projection_dim, dim), self.final_dim, seed
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """How vectors are compressed.

    nbits: bits per dimension: 1, 2, 4, 8, or 16 for uncompressed fp16.
    centroids: number of centroids; None takes 8 * sqrt(tokens) rounded down to a power of two.
    seed: of the sample, the rotation and k-means. The same input, seed and threads give the same bytes.
    max_ram_bytes: a quarter of it bounds the vectors that the codec is trained on; other memory is bounded by chunks of
        about 65,000 token vectors.
    faiss_factory: how the centroids near a query token are found: "Flat" compares all; any other factory string of
        FAISS names an index over the centroids, made anew whenever the index is opened.
    muvera: None, or the encodings that the index holds as well and then finds candidates by.
    device: where texts are encoded, centroids trained and vectors compressed: "cpu", "cuda" or "cuda:N". None encodes
        on a GPU where there is one, and does the rest on the processor. A GPU rounds otherwise, and its k-means begins
        otherwise: its index answers alike, with other bytes.
    """

    nbits: int = DEFAULT_NBITS
    centroids: int | None = None
    seed: int = 0
    max_ram_bytes: int = DEFAULT_MAX_RAM_BYTES
    faiss_factory: str = "Flat"
    muvera: MuveraOptions | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        _check_whole_numbers(self, ("nbits", "centroids", "seed", "max_ram_bytes"))
        if self.nbits not in BIT_WIDTHS:
            raise InputError(f"nbits is {self.nbits}; it must be one of {', '.join(map(str, BIT_WIDTHS))}")
        if self.centroids is not None and self.centroids < 1:
            raise InputError(f"centroids is {self.centroids}; it must be at least 1, or left out for the default")
        if self.device is not None and "," in self.device:
            raise InputError(f"device is {self.device!r}; a build takes one device, such as cuda:0")
        if self.seed < 0:
            raise InputError(f"seed is {self.seed}; it must be 0 or more")
        if self.max_ram_bytes < _SMALLEST_RAM_BYTES:
            raise InputError(
                f"max_ram is {self.max_ram_bytes:,} bytes; a build needs {_SMALLEST_RAM_BYTES >> 20} MiB at least"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions(IndexOptions):
    """How a source of texts becomes an index.

    on_duplicate: what an id that was seen before does: stop the build, be skipped, or replace the earlier document.
    split_tokens: split every document into passages of at most this many tokens; None keeps documents whole.
    split_overlap: tokens that neighbouring passages share.
    overwrite: replace an index that is there; it stays readable until the new one is published.
    """

    on_duplicate: OnDuplicate = "error"
    split_tokens: int | None = None
    split_overlap: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        IndexOptions.__post_init__(self)
        _check_whole_numbers(self, ("split_tokens", "split_overlap"))
        if self.on_duplicate not in ("error", "skip", "last"):
            raise InputError(f"on_duplicate is {self.on_duplicate!r}; it must be error, skip or last")
        if self.split_tokens is not None and self.split_tokens < 1:
            raise InputError(f"split_tokens is {self.split_tokens}; it must be at least 1")
        if self.split_tokens is not None and self.on_duplicate == "last":
            raise InputError(
                "on_duplicate last cannot go with splitting: an earlier document may have more passages than the one "
                "that replaces it; make ids unique, keep documents whole, or use skip"
            )
        if self.split_overlap < 0 or (self.split_tokens is not None and self.split_overlap >= self.split_tokens):
            raise InputError(
                f"split_overlap is {self.split_overlap}; it must be 0 or more, and below split_tokens "
                f"({self.split_tokens})"
            )


def _check_whole_numbers(options: IndexOptions, names: Sequence[str]) -> None:
    """Raise InputError unless these options are whole numbers, or left out."""
    for name in names:
        value = getattr(options, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise InputError(f"{name} is {value!r}, a {type(value).__name__}; it must be a whole number")
