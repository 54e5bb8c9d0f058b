"""Models that give one vector for a text, as one token vector: MaxSim of those is their dot product.

sentence-transformers loads them. A folder with its modules says itself how token vectors are pooled; a plain encoder
(mDPR and the like) is told by the caller: mean, or the first token.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from jcb_engine.encoder.libraries import load_failure, quiet_transformers, require_all_keys
from jcb_engine.encoder.model_files import tokenizer_sha256, weights_sha256
from jcb_engine.encoder.options import EncoderOptions
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.text_tokenizer import TextTokenizer, head_of_text
from jcb_engine.encoder.tokens import Span, Token
from jcb_engine.errors import EncoderError, InputError
from jcb_engine.types import RaggedEmbeddings

_BATCH_SIZE = 32


class SingleVectorModel:
    """A SentenceTransformer. One batch at a time is encoded: its tokenizer keeps state between calls."""

    FAMILY = "single-vector"

    def __init__(self, folder: Path, hub_name: str | None, dim: int | None, options: EncoderOptions) -> None:
        """options: `pooling` for an encoder without modules, and one device.

        Raises InputError where dim is not the model's, EncoderError where it cannot be loaded.
        """
        self._name = hub_name or str(folder)
        options.require_only(("pooling", "device"), f"'{self._name}', which gives one vector for a text")
        has_modules = (folder / "modules.json").is_file()
        if has_modules and options.pooling is not None:
            raise InputError(f"pooling is asked of '{self._name}', whose modules.json says it; leave pooling out")
        if len(options.devices) > 1:
            raise InputError(f"several devices are asked of '{self._name}', which encodes on one; name one")
        device = options.devices[0] if options.devices else None
        self._model = _load(folder, self._name, options, device)
        if not isinstance(self._model[0], Transformer):
            raise EncoderError(
                f"'{self._name}' begins with a {type(self._model[0]).__name__}, not with a transformer; encode with it "
                "yourself and index the vectors"
            )
        require_all_keys(self._model[0].auto_model, folder, self._name)
        self._dim = int(self._model.get_embedding_dimension() or 0)
        if dim is not None and dim != self._dim:
            raise InputError(f"dim {dim} is asked of '{self._name}', whose vectors have {self._dim}; leave dim out")
        backend = getattr(self._model.tokenizer, "backend_tokenizer", None)
        self._tokenizer = None if backend is None else TextTokenizer(backend.to_str(), special_tokens_are_text=False)
        self._lock = threading.Lock()
        length = self._model.max_seq_length
        self._length = None if length is None else int(length)
        self._record = EncoderRecord(
            family=self.FAMILY,
            name=self._name,
            revision=folder.name if hub_name else None,
            dim=self._dim,
            weights_sha256=weights_sha256(folder),
            tokenizer_sha256=tokenizer_sha256(folder),
            query_length=self._length,
            document_length=self._length,
            query_expansion=False,
            pooling=options.pooling,
        )

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def record(self) -> EncoderRecord:
        return self._record

    def encode(self, texts: Sequence[str], *, is_query: bool) -> RaggedEmbeddings:
        """One vector for every text, as the model gives it."""
        heads = [head_of_text(text) for text in texts]
        encode = self._model.encode_query if is_query else self._model.encode_document
        with self._lock:
            vectors = encode(heads, batch_size=_BATCH_SIZE, show_progress_bar=False, convert_to_numpy=True)
        values = np.asarray(vectors, dtype=np.float32).reshape(len(texts), self._dim)
        if not np.isfinite(values).all():
            raise EncoderError(f"'{self._name}' gave a NaN or an infinity; vectors must be finite")
        return RaggedEmbeddings(values, np.arange(len(texts) + 1, dtype=np.int64), self._tokens_cut(texts))

    def _tokens_cut(self, texts: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
        if self._tokenizer is None or self._length is None:
            return None
        limit = self._length - self._model.tokenizer.num_special_tokens_to_add()
        counted = self._tokenizer.count(texts, 0)
        return np.array([max(0, count.total - limit) for count in counted], dtype=np.int64)

    def tokens(self, text: str, *, is_query: bool) -> list[Token] | None:
        """A vector stands for the whole text."""
        return [Token(text, 0, len(text))]

    def token_spans(self, text: str) -> list[Span] | None:
        return None if self._tokenizer is None else self._tokenizer.spans(text)


def _load(folder: Path, name: str, options: EncoderOptions, device: str | None) -> SentenceTransformer:
    try:
        with quiet_transformers():
            if options.pooling is None:
                return SentenceTransformer(str(folder), device=device, trust_remote_code=False, local_files_only=True)
            transformer = Transformer(str(folder))
            pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode=options.pooling)
            return SentenceTransformer(modules=[transformer, pooling], device=device)
    # Whatever a library finds in a folder it does not understand: it has no error of its own for it.
    except Exception as error:
        raise load_failure(folder, name, error) from error
