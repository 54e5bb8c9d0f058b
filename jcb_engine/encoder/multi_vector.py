"""Encoders of sentence-transformers' MultiVectorEncoder, which also reads Stanford-ColBERT's and PyLate's layouts.

Prefixes, lengths, query expansion and the punctuation that is left out are the checkpoint's own; this module batches,
counts and names tokens. Code from a checkpoint is never run.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import MultiVectorEncoder
from tokenizers import Encoding

from jcb_engine.encoder.batches import token_batches
from jcb_engine.encoder.layouts.recognition import read_modules
from jcb_engine.encoder.libraries import load_failure, quiet_transformers, require_all_keys
from jcb_engine.encoder.model_files import read_json, tokenizer_sha256, weights_sha256
from jcb_engine.encoder.objects import ragged
from jcb_engine.encoder.options import EncoderOptions
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.text_tokenizer import Counted, TextTokenizer, head_of_text
from jcb_engine.encoder.tokens import NO_SPAN, Span, Token
from jcb_engine.errors import EncoderError, InputError
from jcb_engine.types import AnyArray, Int64Array, RaggedEmbeddings

# Texts of like length in small batches: little padding, and activations that stay in the cache.
CPU_TOKEN_BUDGET = 2048
GPU_TOKEN_BUDGET = 32768
_OPTIONS = ("query_length", "document_length", "dtype", "device")


class MultiVectorModel:
    """A MultiVectorEncoder with its files. One batch at a time is encoded: its tokenizer keeps state between calls."""

    FAMILY = "multi-vector"

    def __init__(self, folder: Path, hub_name: str | None, dim: int | None, options: EncoderOptions) -> None:
        """folder: absolute, of a late-interaction model; in the hub's cache with a hub_name.

        options: lengths, dtype and one device.

        Raises InputError where dim is not the model's, EncoderError where it cannot be loaded.
        """
        name = hub_name or str(folder)
        options.require_only(_OPTIONS, f"'{name}', which sentence-transformers loads")
        if len(options.devices) > 1:
            raise InputError(f"several devices are asked of '{name}', which encodes on one; name one")
        _require_projection(folder, name)
        self._model = _load(folder, name, options)
        _set_lengths(self._model[0], options, name)
        require_all_keys(self._model[0].auto_model, folder, name)
        self._name = name
        self._folder = folder
        # a folder of the hub's cache is named by the commit
        self._revision = folder.name if hub_name else None
        self._dim = _embedding_dim(self._model, name)
        if dim is not None and dim != self._dim:
            raise InputError(f"dim {dim} is asked of '{name}', whose vectors have {self._dim}; leave dim out")
        self._tokenizer = _text_tokenizer(self._model)
        self._lock = threading.Lock()
        self._record: EncoderRecord | None = None

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def record(self) -> EncoderRecord:
        """Hashes all files on first use."""
        if self._record is None:
            self._record = EncoderRecord(
                family=self.FAMILY,
                name=self._name,
                revision=self._revision,
                dim=self._dim,
                weights_sha256=weights_sha256(self._folder),
                tokenizer_sha256=tokenizer_sha256(self._folder),
                query_length=self._length(is_query=True),
                document_length=self._length(is_query=False),
                query_expansion=self._transformer.query_expansion is not None,
                attends_to_expansion=bool((self._transformer.query_expansion or {}).get("attend")),
                query_marker=self._prompt(is_query=True),
                document_marker=self._prompt(is_query=False),
            )
        return self._record

    def encode(self, texts: Sequence[str], *, is_query: bool) -> RaggedEmbeddings:
        """Vectors as the model gives them. Raises EncoderError where it gives a NaN."""
        heads = [head_of_text(text) for text in texts]
        counts = self._counts(texts, is_query=is_query)
        # Without a tokenizer to ask, four characters make a token: the batches are then less even, no worse.
        lengths = [1 + len(text) // 4 for text in heads] if counts is None else [1 + len(c.ids) for c in counts]
        arrays: list[AnyArray | None] = [None] * len(texts)
        encode = self._model.encode_query if is_query else self._model.encode_document
        for batch in token_batches(lengths, self._token_budget):
            with self._lock:
                vectors = encode(
                    [heads[text] for text in batch],
                    batch_size=len(batch),
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
            for text, array in zip(batch, vectors, strict=True):
                arrays[text] = array
        result = ragged(arrays, len(texts), self._dim, f"'{self._name}'")
        if counts is None:
            return result
        cut = np.array([count.total - len(count.ids) for count in counts], dtype=np.int64)
        return RaggedEmbeddings(result.values, result.offsets, cut, self._unknown_tokens(counts))

    def _counts(self, texts: Sequence[str], *, is_query: bool) -> list[Counted] | None:
        """What each text has beside prompt and special tokens, cut as the model cuts it."""
        length = self._length(is_query=is_query)
        if self._tokenizer is None:
            return None
        if length is None:
            return self._tokenizer.count(texts, limit=int(np.iinfo(np.int64).max))
        prompt = self._prompt(is_query=is_query)
        prompt_tokens = self._tokenizer.count([prompt], 0)[0].total if prompt else 0
        special_tokens = self._model.tokenizer.num_special_tokens_to_add()
        return self._tokenizer.count(texts, max(0, length - prompt_tokens - special_tokens))

    def _unknown_tokens(self, counts: Sequence[Counted]) -> Int64Array:
        unknown = self._model.tokenizer.unk_token_id
        return np.array([count.ids.count(unknown) for count in counts], dtype=np.int64)

    def tokens(self, text: str, *, is_query: bool) -> list[Token] | None:
        """One token for every vector; None where the tokenizer has no offsets or vectors are pooled."""
        if self._tokenizer is None or any("Pooling" in type(module).__name__ for module in self._model):
            return None
        prompt = self._prompt(is_query=is_query)
        head = head_of_text(text)
        with self._lock:
            features = self._model.preprocess([head], prompt=prompt, task=_task(is_query))
            names = self._model.tokenizer.convert_ids_to_tokens(features["input_ids"][0].tolist())
            kept = self._scored_positions(features, is_query=is_query)
        encoding = self._tokenizer.with_special_tokens(prompt + head)
        spans = _spans_of_ids(encoding, features["input_ids"][0].tolist(), len(prompt))
        return [Token(names[position], *spans[position]) for position in kept]

    def _scored_positions(self, features: dict[str, Any], *, is_query: bool) -> list[int]:
        """Positions of the tokens whose vectors search: the model's own mask, applied without running the model."""
        for module in self._model:
            if type(module).__name__ == "MultiVectorMask":
                features = module(dict(features), task=_task(is_query))
        positions: list[int] = features["attention_mask"][0].bool().nonzero().flatten().tolist()
        return positions

    def token_spans(self, text: str) -> list[Span] | None:
        return None if self._tokenizer is None else self._tokenizer.spans(text)

    @property
    def _transformer(self) -> Any:
        return self._model[0]

    def _length(self, *, is_query: bool) -> int | None:
        """The most tokens of a text, prompt and special ones included; None: no limit."""
        expansion = self._transformer.query_expansion if is_query else None
        if expansion is not None and expansion["strategy"] == "fixed":
            return int(expansion["length"])
        own = self._transformer.query_length if is_query else self._transformer.document_length
        length = self._transformer.max_seq_length if own is None else own
        return None if length is None else int(length)

    def _prompt(self, *, is_query: bool) -> str:
        """What the model puts before a text, chosen as its encode methods choose."""
        candidates = ("query",) if is_query else ("document", "passage", "corpus")
        name = next((name for name in candidates if name in self._model.prompts), self._model.default_prompt_name)
        return "" if name is None else self._model.prompts[name] or ""

    @property
    def _token_budget(self) -> int:
        return CPU_TOKEN_BUDGET if self._model.device.type == "cpu" else GPU_TOKEN_BUDGET


def _spans_of_ids(encoding: Encoding, ids: Sequence[int], prompt_characters: int) -> list[Span]:
    """Characters of the text that each id stands for; (-1, -1) for prompt, special and expansion tokens.

    encoding: prompt and text, not cut. ids: the same as the model gets them: cut at the end, maybe expanded.
    """
    spans = [NO_SPAN] * len(ids)
    for position, (wanted, came, (start, end)) in enumerate(zip(ids, encoding.ids, encoding.offsets, strict=False)):
        if wanted != came:
            break
        if end > max(start, prompt_characters):
            spans[position] = (max(start, prompt_characters) - prompt_characters, end - prompt_characters)
    return spans


def _task(is_query: bool) -> str:
    return "query" if is_query else "document"


def _require_projection(folder: Path, name: str) -> None:
    """sentence-transformers follows modules.json, and makes a projection up where that lists none."""
    modules = read_modules(folder)
    architectures = read_json(folder / "config.json", dict).get("architectures") or []
    if "HF_ColBERT" in architectures and modules and not any(module["type"].endswith(".Dense") for module in modules):
        raise EncoderError(
            f"'{name}' is in Stanford's layout, but its modules.json lists no projection and hides the trained "
            "one; use a copy of the folder without modules.json"
        )


def _set_lengths(transformer: Any, options: EncoderOptions, name: str) -> None:
    """Put the caller's lengths in the place of the checkpoint's. Raises InputError for those beyond its positions."""
    positions = getattr(transformer.auto_model.config, "max_position_embeddings", None)
    for option, length in (("query_length", options.query_length), ("document_length", options.document_length)):
        if length is not None and isinstance(positions, int) and length > positions:
            raise InputError(f"{option} is {length:,}; '{name}' takes at most {positions:,} tokens")
    if options.document_length is not None:
        transformer.document_length = options.document_length
    if options.query_length is None:
        return
    if transformer.query_expansion is not None and transformer.query_expansion["strategy"] == "fixed":
        transformer.query_expansion = {**transformer.query_expansion, "length": options.query_length}
    else:
        transformer.query_length = options.query_length


def _load(folder: Path, name: str, options: EncoderOptions) -> MultiVectorEncoder:
    device = options.devices[0] if options.devices else None
    kwargs = {} if options.dtype is None else {"dtype": options.dtype}
    try:
        with quiet_transformers():
            return MultiVectorEncoder(
                str(folder), device=device, trust_remote_code=False, local_files_only=True, model_kwargs=kwargs
            )
    # Whatever a library finds in a folder it does not understand: it has no error of its own for it.
    except Exception as error:
        raise load_failure(folder, name, error) from error


def _embedding_dim(model: MultiVectorEncoder, name: str) -> int:
    dim = model.get_embedding_dimension()
    if dim is None:
        raise EncoderError(f"'{name}' does not say how long its vectors are; its modules need a projection (Dense)")
    return int(dim)


def _text_tokenizer(model: MultiVectorEncoder) -> TextTokenizer | None:
    """A copy of the model's tokenizer; None where it is not one of the `tokenizers` library."""
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    return None if backend is None else TextTokenizer(backend.to_str(), special_tokens_are_text=False)
