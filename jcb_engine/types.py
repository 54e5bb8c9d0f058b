"""The vocabulary that packages exchange: documents, hits, ragged embeddings and the encoder protocol.

Notation used in every docstring of the project: Q query tokens and T document tokens, all queries or documents laid
end to end; N documents, K centroids, D dimensions. Offsets have one entry more than there are texts: text i owns rows
offsets[i]:offsets[i + 1]. There is no padding anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, overload, runtime_checkable

import numpy as np
import numpy.typing as npt

from jcb_engine.errors import InputError

Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
Float16Array: TypeAlias = npt.NDArray[np.float16]
Int32Array: TypeAlias = npt.NDArray[np.int32]
Int64Array: TypeAlias = npt.NDArray[np.int64]
Uint32Array: TypeAlias = npt.NDArray[np.uint32]
Uint8Array: TypeAlias = npt.NDArray[np.uint8]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
AnyArray: TypeAlias = npt.NDArray[np.generic]

JsonValue: TypeAlias = "str | int | float | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
Metadata: TypeAlias = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Document:
    """One text to index. `id` is the user's own and stable for ever.

    A passage of a longer document has the id `<parent>#<position>`, names its `parent` and its `position` (0-based).
    """

    id: str
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    parent: str | None = None
    position: int | None = None

    @property
    def full_text(self) -> str:
        """Title and text joined by a space: what a document encoder reads."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Hit:
    """One result. `rank` counts from 1; `score` is the fp32 MaxSim over the stored vectors."""

    id: str
    score: float
    rank: int
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    parent: str | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Hits(Sequence[Hit]):
    """The answer to one query: hits ordered by score, then by id.

    exact: True when every document (of a subset, where one was searched) was scored, in the sense of ARCHITECTURE.md
        ("what exact means").
    recall: share of the exact top k that searches with these settings find on the average, as measured by tuning on
        this very content and for this k; None: not measured, or exact.
    backend: the kernel backend that scored, such as "cpu/avx2".
    version: the manifest version that was searched.
    query_tokens_cut: tokens of the query that the encoder could not take (0 for most queries).
    """

    hits: tuple[Hit, ...]
    exact: bool
    recall: float | None
    backend: str
    version: int
    query_tokens_cut: int = 0

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, slots=True, eq=False)
class RaggedEmbeddings(Sequence[Float32Array]):
    """Token vectors of several texts, laid end to end.

    values: [tokens, dim] float32.
    offsets: [texts + 1] int64.
    tokens_cut: [texts] int64, tokens of each text beyond the encoder's length; None where the encoder cannot tell.
    unknown_tokens: [texts] int64, tokens that the tokenizer does not know; None where the encoder cannot tell.
    """

    values: Float32Array
    offsets: Int64Array
    tokens_cut: Int64Array | None = None
    unknown_tokens: Int64Array | None = None

    def __post_init__(self) -> None:
        check_ragged(self.values, self.offsets)

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Float32Array: ...
    @overload
    def __getitem__(self, index: slice) -> list[Float32Array]: ...
    def __getitem__(self, index: int | slice) -> Float32Array | list[Float32Array]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"text {index} of {len(self)}")
        return self.values[self.offsets[position] : self.offsets[position + 1]]

    def __iter__(self) -> Iterator[Float32Array]:
        return (self[i] for i in range(len(self)))


def check_ragged(values: AnyArray, offsets: AnyArray) -> None:
    """Raise InputError unless values is [tokens, dim] and offsets is non-decreasing from 0 to tokens."""
    if values.ndim != 2:
        raise InputError(f"vectors have shape {values.shape}; expected [tokens, dim]")
    if offsets.ndim != 1 or len(offsets) == 0:
        raise InputError(f"offsets have shape {offsets.shape}; expected [texts + 1]")
    if offsets[0] != 0 or offsets[-1] != len(values):
        raise InputError(
            f"offsets must rise from 0 to the number of tokens ({len(values)}); "
            f"they start at {offsets[0]} and end at {offsets[-1]}"
        )
    falls = np.flatnonzero(np.diff(offsets.astype(np.int64)) < 0)
    if len(falls):
        place = int(falls[0])
        raise InputError(f"offsets must rise; offset {place} is {offsets[place]} and the next one {offsets[place + 1]}")


@runtime_checkable
class TokenEncoder(Protocol):
    """What the engine asks of an encoder: a list of texts in, ragged token vectors out.

    Any object with these two methods serves: our own encoders, a sentence-transformers MultiVectorEncoder, a PyLate
    model. What it returns may be RaggedEmbeddings or a list of [tokens, dim] arrays or tensors; `Encoder` adapts it.
    """

    def encode_query(self, texts: list[str]) -> object: ...
    def encode_document(self, texts: list[str]) -> object: ...


EncoderSource: TypeAlias = str | os.PathLike[str] | TokenEncoder
