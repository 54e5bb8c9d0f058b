"""Encoders of the transformers library, fed with packed texts through an attention function of our own.

Their layers work on tokens one by one, all but attention, so one sequence of all texts with positions that start anew
gives every text what it would get alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AttentionInterface, AutoConfig, PretrainedConfig
from transformers.masking_utils import AttentionMaskInterface

from jcb_engine.encoder.backbones.architecture import JINA_MODEL_TYPE, first_position, model_type, rope_base
from jcb_engine.encoder.backbones.attention import attend
from jcb_engine.encoder.backbones.linear import pack_linear_modules
from jcb_engine.encoder.backbones.packing import Packed
from jcb_engine.encoder.backbones.weights import require_complete, without_other_parts
from jcb_engine.encoder.hub import first_line
from jcb_engine.encoder.libraries import quiet_transformers
from jcb_engine.errors import EncoderError, InputError

_ATTENTION = "jcb_packed"
# Keys of the released config.json that mean something else, or nothing, to the class of the library.
_NOT_FOR_CONFIG = frozenset(
    {"auto_map", "_name_or_path", "architectures", "model_type", "rotary_emb_base", "rope_theta", "rope_parameters"}
    | {"torch_dtype", "dtype", "transformers_version", "head_dims", "matryoshka_dimensions"}
)


class HuggingFaceBackbone:
    """A model of the transformers library on one device."""

    def __init__(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        device: torch.device,
        dtype: torch.dtype,
        source: str,
        language: str | None = None,
    ) -> None:
        """config: content of a config.json that `can_be_packed`; tensors: by name, without a prefix.

        language: the language adapter of an X-MOD model; None: the checkpoint's default.
        Raises EncoderError where a tensor is missing, left over or of another shape, InputError for a language that
        is not there.
        """
        kind = model_type(config)
        assert kind is not None, "asked before"
        self._first_position = first_position(config)
        self._model = _load(kind, config, tensors, dtype, source).to(device)
        pack_linear_modules(self._model)
        self._extra = _language_ids(self._model, language, source) if kind == "xmod" else {}

    @property
    def device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    @property
    def hidden_size(self) -> int:
        return int(self._model.config.hidden_size)

    def __call__(self, packed: Packed) -> Tensor:
        output = self._model(
            input_ids=packed.ids[None],
            position_ids=(packed.positions() + self._first_position)[None],
            packed=packed,
            **self._extra,
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden


def _library_config(kind: str, config: Mapping[str, Any]) -> PretrainedConfig:
    values = {key: value for key, value in config.items() if key not in _NOT_FOR_CONFIG}
    if kind == JINA_MODEL_TYPE:
        values["rope_parameters"] = {"rope_type": "default", "rope_theta": rope_base(config)}
    return AutoConfig.for_model(kind, **values)


def _load(kind: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype, source: str) -> Any:
    """The model in evaluation mode, with every tensor in its place."""
    try:
        library_config = _library_config(kind, config)
        with quiet_transformers():
            model, loading = MODEL_MAPPING[type(library_config)].from_pretrained(
                None,
                config=library_config,
                state_dict=without_other_parts(tensors),
                dtype=dtype,
                attn_implementation=_ATTENTION,
                add_pooling_layer=False,
                output_loading_info=True,
            )
    # The library raises RuntimeError for shapes, and for a config that it cannot make sense of whatever comes.
    except Exception as error:
        raise EncoderError(
            f"'{source}' cannot be loaded by transformers: {type(error).__name__}: {first_line(error)}"
        ) from error
    require_complete(loading["missing_keys"], loading["unexpected_keys"], source)
    return model.eval()


def _language_ids(model: Any, language: str | None, source: str) -> dict[str, Tensor]:
    """The adapter to use, as X-MOD's forward pass takes it. Raises InputError where it is not there, or none named."""
    known = list(model.config.languages)
    wanted = model.config.default_language if language is None else language
    if wanted not in known:
        came = "no language was given and it has no default" if wanted is None else f"it has no language {wanted!r}"
        raise InputError(f"'{source}' has an adapter for each language, and {came}; it has {', '.join(known)}")
    return {"lang_ids": torch.full((1,), known.index(wanted), device=model.device)}


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packed: Packed,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """transformers' attention interface: [1, heads, tokens, head_dim] in, [1, tokens, heads, head_dim] out."""
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    return attend(query, key, value, packed, scale=scaling)[None], None


def _no_mask(*_: object, **__: object) -> None:
    return None


_register: Callable[..., None] = AttentionInterface.register
_register(_ATTENTION, _packed_attention)
AttentionMaskInterface.register(_ATTENTION, _no_mask)
