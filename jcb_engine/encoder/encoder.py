"""The one encoder that the engine uses, whatever is behind it: input checked, output checked, blanks treated alike."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

import numpy as np

from jcb_engine.encoder.hub import HubAccess
from jcb_engine.encoder.loading import load_model, load_record, load_with_new_heads
from jcb_engine.encoder.model import CheckpointWriter, EncoderModel, Savable, SeveralDims
from jcb_engine.encoder.options import EncoderArguments, EncoderOptions
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.token_pooling import TokenPooling
from jcb_engine.encoder.tokens import Span, Token
from jcb_engine.encoder.windows import windows
from jcb_engine.errors import EncoderMismatchError, InputError
from jcb_engine.types import Float32Array, Int64Array, RaggedEmbeddings, TokenEncoder

_Kind = Literal["query", "document"]
_WORD = re.compile(r"\w+|[^\w\s]")


class Encoder:
    """Texts -> token vectors.

        encoder = Encoder("mini", dim=128)
        vectors = encoder.encode_document(["one text", "another"])      # RaggedEmbeddings, values [tokens, dim]

    Thread-safe as far as what is behind it is; whatever loads by name is.
    """

    def __init__(
        self,
        name_or_path_or_object: str | os.PathLike[str] | TokenEncoder | Encoder,
        dim: int | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        token_pooling: float | None = None,
        **options: Unpack[EncoderArguments],
    ) -> None:
        """name_or_path_or_object: "mini" (the newest), "mini@1"; the folder or the hub name of a checkpoint, such as
        "jinaai/jina-colbert-v2" (`jcb-index models` lists known ones); or an object with `encode_query` and
        `encode_document`, which take a list of texts and give RaggedEmbeddings or a list of [tokens, dim] arrays.

        dim: None: the model's own. `dims` are those on offer.
        revision, token, local_files_only: how the hub is asked; no code from it is ever run.
        token_pooling: a document's token vectors are clustered, and so many become one (2: half of them are left).
        options: as in EncoderOptions: query_length, document_length, query_expansion, attends_to_expansion,
            punctuation, special_tokens_as_text, language, pooling, dtype, attention, device.
        Raises InputError for a name, dim or option that cannot be, EncoderError for a model that cannot be loaded,
        MissingDependencyError where a package is needed.
        """
        if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int) or dim < 1):
            raise InputError(f"dim is {dim!r}; expected a whole number from 1, or None for the model's own")
        asked = EncoderOptions(**options)
        self._pooling = None if token_pooling is None else TokenPooling(token_pooling)
        if self._pooling is not None:
            self._pooling.require_library()
        if isinstance(name_or_path_or_object, Encoder):
            self._model: EncoderModel = name_or_path_or_object._with_dim(dim)
            asked.require_only((), "an Encoder that is loaded; give it when loading")
            self._pooling = self._pooling or name_or_path_or_object._pooling
            return
        self._model = load_model(name_or_path_or_object, dim, asked, HubAccess(revision, token, local_files_only))

    @classmethod
    def from_record(
        cls, record: EncoderRecord, *, token: str | bool | None = None, local_files_only: bool = False
    ) -> Encoder:
        """The encoder that an index was made with.

        Raises EncoderMismatchError where what loads today is another one, EncoderError where it cannot be loaded: an
        encoder that was an object has to be given again.
        """
        encoder = cls.__new__(cls)
        encoder._pooling = None if record.token_pooling is None else TokenPooling(record.token_pooling)
        encoder._model = load_record(record, HubAccess(record.revision, token, local_files_only))
        differences = encoder.record.differences(record)
        if differences:
            raise EncoderMismatchError(
                f"'{record.name}' is not what the index was made with: {'; '.join(differences)} (here: loaded now, "
                "there: recorded in the index); load the same version, or build the index again"
            )
        return encoder

    @classmethod
    def with_new_heads(
        cls,
        name_or_path: str | os.PathLike[str],
        dims: Sequence[int],
        *,
        seed: int = 0,
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **options: Unpack[EncoderArguments],
    ) -> Encoder:
        """A bare encoder (BERT, XLM-R, X-MOD, XLM-R with rotary positions) with untrained heads: where training begins.

        dims: a head each, of random numbers; the first is the default. `save` writes it as a checkpoint.
        Raises InputError for dims or options that cannot be, EncoderError where there is no such encoder.
        """
        access = HubAccess(revision, token, local_files_only)
        encoder = cls.__new__(cls)
        encoder._pooling = None
        encoder._model = load_with_new_heads(name_or_path, dims, seed, EncoderOptions(**options), access)
        return encoder

    def _with_dim(self, dim: int | None) -> EncoderModel:
        if dim is not None and dim != self.dim:
            raise InputError(f"dim {dim} is asked of an Encoder that is loaded with {self.dim}; load one with that dim")
        return self._model

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._model.dim

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions that the model has heads for."""
        return self._model.dims if isinstance(self._model, SeveralDims) else (self.dim,)

    @property
    def record(self) -> EncoderRecord:
        """Identity of the encoder, as an index keeps it."""
        record = self._model.record
        return record if self._pooling is None else replace(record, token_pooling=self._pooling.factor)

    def encode_query(self, texts: list[str]) -> RaggedEmbeddings:
        """Vectors of queries, as the model encodes queries.

        Raises InputError for what is no list of texts and for a query that is blank or gives no vector.
        """
        _check_queries(texts)
        vectors = self._model.encode(texts, is_query=True)
        _require_vectors(vectors, texts)
        return vectors

    def encode_document(self, texts: list[str]) -> RaggedEmbeddings:
        """Vectors of documents, as the model encodes documents; none for a text that is empty or blank.

        Raises InputError for what is no list of texts.
        """
        _check_texts(texts, "document")
        filled = [number for number, text in enumerate(texts) if text.strip()]
        if not filled:
            return _no_vectors(len(texts), self.dim)
        if len(filled) == len(texts):
            return self._pooled(self._model.encode(texts, is_query=False))
        vectors = self._model.encode([texts[number] for number in filled], is_query=False)
        return _spread(self._pooled(vectors), filled, len(texts))

    def _pooled(self, vectors: RaggedEmbeddings) -> RaggedEmbeddings:
        return vectors if self._pooling is None else self._pooling(vectors)

    def encode_document_dims(self, texts: list[str], dims: Sequence[int]) -> dict[int, RaggedEmbeddings]:
        """Vectors of documents at several dimensions, by dimension, from one pass through the backbone.

        Raises InputError for what is no list of texts, and for a dimension that the model has no head for.
        """
        _check_texts(texts, "document")
        filled = [number for number, text in enumerate(texts) if text.strip()]
        model = self._several_dims(dims)
        vectors = model.encode_dims([texts[number] for number in filled], dims, is_query=False)
        return {dim: _spread(self._pooled(found), filled, len(texts)) for dim, found in vectors.items()}

    def encode_query_dims(self, texts: list[str], dims: Sequence[int]) -> dict[int, RaggedEmbeddings]:
        """Vectors of queries at several dimensions, by dimension, from one pass through the backbone.

        Raises InputError as `encode_query` does, and for a dimension that the model has no head for.
        """
        _check_queries(texts)
        vectors = self._several_dims(dims).encode_dims(texts, dims, is_query=True)
        for found in vectors.values():
            _require_vectors(found, texts)
        return vectors

    def _several_dims(self, dims: Sequence[int]) -> SeveralDims:
        if not isinstance(dims, Sequence) or any(isinstance(dim, bool) or not isinstance(dim, int) for dim in dims):
            raise InputError(f"dims is {dims!r}; expected a list of whole numbers, such as [64, 128]")
        if isinstance(self._model, SeveralDims):
            return self._model
        raise InputError(f"dims {list(dims)} are asked of '{self.record.name}', which has {self.dim} alone")

    def stream_documents(self, texts: Iterable[str]) -> Iterator[Float32Array]:
        """The vectors [tokens, dim] of each document of a stream, in its order; memory does not grow with it.

        Texts are read ahead as far as WINDOW_CHARACTERS and WINDOW_TEXTS allow, and encoded together, sorted by length.
        Raises InputError for what is no text.
        """
        for window in windows(_checked_stream(texts), len):
            yield from self.encode_document(window)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a checkpoint with all its heads in the layout that Jina-ColBERT-v2 is released in.

        The head of this encoder's dim becomes the default, `linear.weight`; the others stand beside it, as
        `heads.<dim>.weight`. Tensors keep their bits. Raises InputError for a model that has no such layout, and where
        the folder holds files.
        """
        self._writer().save(Path(folder))

    def export(self, folder: str | os.PathLike[str]) -> None:
        """Write the checkpoint at this encoder's dim as a folder that sentence-transformers' MultiVectorEncoder loads.

        Raises as `save` does.
        """
        self._writer().export(Path(folder))

    def _writer(self) -> CheckpointWriter:
        writer = self._model.writer if isinstance(self._model, Savable) else None
        if writer is None:
            raise InputError(
                f"'{self.record.name}' cannot be written: only checkpoints in Stanford's layout, which Jina-ColBERT-v2 "
                "is released in, can"
            )
        return writer

    def query_tokens(self, text: str) -> list[Token] | None:
        """One token for every vector that `encode_query` gives for a text; None where the encoder cannot tell."""
        _check_texts([text], "query")
        return self._model.tokens(text, is_query=True)

    def document_tokens(self, text: str) -> list[Token] | None:
        """One token for every vector that `encode_document` gives for a text; None where the encoder cannot tell."""
        _check_texts([text], "document")
        if self._pooling is not None:
            return None
        return self._model.tokens(text, is_query=False) if text.strip() else []

    def token_spans(self, text: str) -> list[Span]:
        """Characters of all tokens of a text, without special ones and without a cut.

        Words and punctuation marks where the encoder has no tokenizer to ask.
        """
        _check_texts([text], "document")
        spans = self._model.token_spans(text)
        return [match.span() for match in _WORD.finditer(text)] if spans is None else spans


def _check_texts(texts: object, kind: _Kind) -> None:
    if isinstance(texts, str):
        raise InputError(f"one text came; pass a list of texts, such as encode_{kind}([text])")
    if not isinstance(texts, list):
        raise InputError(f"a {type(texts).__name__} came; pass a list of texts")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {number} is a {type(text).__name__}; expected str")
        if not _is_utf8(text):
            raise InputError(f"text {number} holds half a surrogate pair, which is no Unicode text; decode it again")


def _checked_stream(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, str):
        raise InputError("one text came; pass an iterable of texts, such as stream_documents([text])")
    if not isinstance(texts, Iterable):
        raise InputError(f"a {type(texts).__name__} came; pass an iterable of texts")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {number} is a {type(text).__name__}; expected str")
        yield text


def _check_queries(texts: list[str]) -> None:
    _check_texts(texts, "query")
    for number, text in enumerate(texts):
        _require_content(bool(text.strip()), number, texts)


def _require_vectors(vectors: RaggedEmbeddings, texts: Sequence[str]) -> None:
    for number, tokens in enumerate(np.diff(vectors.offsets)):
        _require_content(tokens > 0, number, texts)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _require_content(has_content: bool, number: int, texts: Sequence[str]) -> None:
    if not has_content:
        which = f"query {number} of {len(texts)}" if len(texts) > 1 else "the query"
        raise InputError(f"{which} is {texts[number][:20]!r}, which holds nothing to search for; give some words")


def _no_vectors(texts: int, dim: int) -> RaggedEmbeddings:
    none = np.zeros(texts, dtype=np.int64)
    return RaggedEmbeddings(np.zeros((0, dim), dtype=np.float32), np.zeros(texts + 1, dtype=np.int64), none, none)


def _spread(vectors: RaggedEmbeddings, numbers: Sequence[int], texts: int) -> RaggedEmbeddings:
    """Vectors of some texts as those of all, the others having none."""
    lengths = _spread_counts(np.diff(vectors.offsets), numbers, texts)
    offsets = np.zeros(texts + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    cut, unknown = vectors.tokens_cut, vectors.unknown_tokens
    return RaggedEmbeddings(
        vectors.values,
        offsets,
        None if cut is None else _spread_counts(cut, numbers, texts),
        None if unknown is None else _spread_counts(unknown, numbers, texts),
    )


def _spread_counts(counts: Int64Array, numbers: Sequence[int], texts: int) -> Int64Array:
    spread = np.zeros(texts, dtype=np.int64)
    spread[list(numbers)] = counts
    return spread
