"""Any object with `encode_query` and `encode_document` as an encoder: what it gives is checked and made ragged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.tokens import Span, Token
from jcb_engine.errors import EncoderError, InputError
from jcb_engine.types import AnyArray, Float32Array, RaggedEmbeddings, TokenEncoder

# What encoders commonly call the length of their vectors, before one text is encoded to find out.
_DIM_METHODS = ("get_embedding_dimension", "get_sentence_embedding_dimension")


class ObjectModel:
    """A caller's own encoder."""

    FAMILY = "object"

    def __init__(self, encoder: TokenEncoder, dim: int | None) -> None:
        """dim: what the caller says its vectors have; None: asked of the object, by encoding a text if need be.

        Raises InputError where the object itself says otherwise.
        """
        self._encoder = encoder
        stated = _stated_dim(encoder)
        if dim is not None and stated is not None and dim != stated:
            raise InputError(f"dim {dim} is asked of {class_name(encoder)}, whose vectors have {stated}")
        self._dim = stated if dim is None else dim

    @property
    def dim(self) -> int:
        if self._dim is None:
            self._dim = self._checked(self._encoder.encode_document(["dimension"]), 1).dim
        return self._dim

    @property
    def record(self) -> EncoderRecord:
        """Class, and the object's own `name` where it has one: an object's weights are not ours to know."""
        own_name = getattr(self._encoder, "name", None)
        suffix = f" '{own_name}'" if isinstance(own_name, str) else ""
        return EncoderRecord(family=self.FAMILY, name=class_name(self._encoder) + suffix, dim=self.dim)

    def encode(self, texts: Sequence[str], *, is_query: bool) -> RaggedEmbeddings:
        """Raises EncoderError where what comes is no list of finite [tokens, dim] arrays, one for each text."""
        method = self._encoder.encode_query if is_query else self._encoder.encode_document
        vectors = self._checked(method(list(texts)), len(texts))
        if self._dim is None:
            self._dim = vectors.dim
        return vectors

    def _checked(self, output: object, texts: int) -> RaggedEmbeddings:
        return ragged(output, texts, self._dim, class_name(self._encoder))

    def tokens(self, text: str, *, is_query: bool) -> list[Token] | None:
        return None

    def token_spans(self, text: str) -> list[Span] | None:
        return None


def class_name(encoder: object) -> str:
    """Module and name of an object's class."""
    return f"{type(encoder).__module__}.{type(encoder).__qualname__}"


def _stated_dim(encoder: object) -> int | None:
    stated = getattr(encoder, "dim", None)
    for name in _DIM_METHODS:
        method = getattr(encoder, name, None)
        if stated is None and callable(method):
            stated = method()
    return stated if isinstance(stated, int) and not isinstance(stated, bool) else None


def ragged(output: object, texts: int, dim: int | None, source: str) -> RaggedEmbeddings:
    """What an encoder gave as RaggedEmbeddings of `texts` texts.

    output: RaggedEmbeddings, or a sequence of [tokens, dim] arrays or tensors, of any float type and on any device.
    dim: expected length of the vectors; None: that of the first text. source: names the encoder in messages.
    Raises EncoderError for anything else, a NaN or an infinity included.
    """
    if isinstance(output, RaggedEmbeddings):
        arrays: list[AnyArray] = list(output)
    elif isinstance(output, Sequence) and not isinstance(output, str | bytes):
        arrays = [_array(item, number, source) for number, item in enumerate(output)]
    else:
        raise EncoderError(f"{source} gave {_shown(output)}; expected a list of [tokens, dim] arrays, one per text")
    if len(arrays) != texts:
        raise EncoderError(f"{source} gave vectors of {len(arrays)} texts for {texts}; expected one array for each")
    lengths = [0] * texts
    for number, array in enumerate(arrays):
        dim = _check_array(array, number, dim, source)
        lengths[number] = len(array)
    if dim is None:
        raise EncoderError(f"{source} gave no array, so the length of its vectors is not known; give dim")
    offsets = np.zeros(texts + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    values: Float32Array = np.concatenate([np.zeros((0, dim), np.float32), *arrays], dtype=np.float32)
    if not isinstance(output, RaggedEmbeddings):
        return RaggedEmbeddings(values, offsets)
    return RaggedEmbeddings(values, offsets, output.tokens_cut, output.unknown_tokens)


def _array(item: Any, number: int, source: str) -> AnyArray:
    """numpy array of an array or a tensor; tensors are told by what they can do, so that torch is not imported."""
    if isinstance(item, np.ndarray):
        return item
    if callable(getattr(item, "detach", None)) and callable(getattr(item, "float", None)):
        # bfloat16 has no numpy type, and a tensor on a device no memory that numpy can see
        tensor: AnyArray = item.detach().float().cpu().numpy()
        return tensor
    raise EncoderError(f"{source} gave {_shown(item)} for text {number}; expected a [tokens, dim] array or tensor")


def _check_array(array: AnyArray, number: int, dim: int | None, source: str) -> int:
    """The dim of a sound array; EncoderError otherwise."""
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise EncoderError(
            f"{source} gave an array of {array.dtype} and shape {array.shape} for text {number}; "
            "expected [tokens, dim] of floats"
        )
    if dim is not None and array.shape[1] != dim:
        raise EncoderError(f"{source} gave vectors of {array.shape[1]} dimensions for text {number}; expected {dim}")
    if not np.isfinite(array).all():
        raise EncoderError(f"{source} gave a NaN or an infinity for text {number}; vectors must be finite")
    return int(array.shape[1])


def _shown(value: object) -> str:
    return f"a {type(value).__name__}"
