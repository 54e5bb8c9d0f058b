"""What a caller may ask of an encoder beyond its name, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeAlias, TypedDict, get_args

from jcb_engine.encoder.token_rules import PUNCTUATION_RULES, Punctuation, TokenRules
from jcb_engine.errors import InputError

Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]
Pooling: TypeAlias = Literal["mean", "cls"]
Attention: TypeAlias = Literal["torch", "flash-attn"]


class EncoderArguments(TypedDict, total=False):
    """EncoderOptions as keyword arguments."""

    query_length: int | None
    document_length: int | None
    query_expansion: bool | None
    attends_to_expansion: bool | None
    punctuation: Punctuation | None
    special_tokens_as_text: bool | None
    language: str | None
    pooling: Pooling | None
    dtype: Dtype | None
    attention: Attention | None
    device: str | Sequence[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderOptions:
    """None: as the checkpoint says, or as the machine suggests.

    query_length, document_length, query_expansion, attends_to_expansion, punctuation, special_tokens_as_text: as in
        TokenRules.
    language: the language adapter of an X-MOD model, such as "de_DE".
    pooling: a plain encoder without a projection is searched with one vector per text: the mean of its token vectors,
        or that of its first token.
    dtype: of weights and activations: float32, or bfloat16 or float16, which are faster where the processor has them.
    attention: what computes attention on CUDA in half precision: torch's own variable-length kernel, or the package
        flash-attn.
    device: where to encode: "cpu", "cuda", "cuda:1", or several devices, which then share the texts.
    """

    query_length: int | None = None
    document_length: int | None = None
    query_expansion: bool | None = None
    attends_to_expansion: bool | None = None
    punctuation: Punctuation | None = None
    special_tokens_as_text: bool | None = None
    language: str | None = None
    pooling: Pooling | None = None
    dtype: Dtype | None = None
    attention: Attention | None = None
    device: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in ("query_length", "document_length"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name} is {value!r}; expected a whole number from 1, or None for the model's own")
        for name in ("query_expansion", "attends_to_expansion", "special_tokens_as_text"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, bool):
                raise InputError(f"{name} is {value!r}; expected True, False, or None for the model's own")
        _check_choice("punctuation", self.punctuation, PUNCTUATION_RULES)
        _check_choice("pooling", self.pooling, get_args(Pooling))
        _check_choice("dtype", self.dtype, get_args(Dtype))
        _check_choice("attention", self.attention, get_args(Attention))
        if self.language is not None and not isinstance(self.language, str):
            raise InputError(f"language is {self.language!r}; expected a text such as 'de_DE'")
        if self.device is not None and not self.devices:
            raise InputError("device is an empty list; name at least one device, or leave it out")

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that were named; none: choose."""
        if self.device is None:
            return ()
        if not isinstance(self.device, str | list | tuple):
            raise InputError(f"device is a {type(self.device).__name__}; expected a name such as 'cuda:0', or a list")
        devices = (self.device,) if isinstance(self.device, str) else tuple(self.device)
        for device in devices:
            if not isinstance(device, str):
                raise InputError(f"device holds a {type(device).__name__}; expected names such as 'cpu' and 'cuda:0'")
        return devices

    def require_only(self, allowed: Sequence[str], name: str) -> None:
        """Raises InputError where an option was given that a kind of encoder does not have."""
        for field in fields(self):
            if getattr(self, field.name) is not None and field.name not in allowed:
                has = f"it has {', '.join(allowed)}" if allowed else "it has no options"
                raise InputError(f"{field.name} is no option of {name}; {has}")

    def applied_to(self, rules: TokenRules, longest: int, name: str) -> TokenRules:
        """The rules of a checkpoint with what the caller asked for in their place.

        longest: the most tokens that the model has positions for. Raises InputError for a length beyond it, and for
        attention to expansion tokens where there are none.
        """
        asked = {field.name: getattr(self, field.name) for field in fields(self) if hasattr(rules, field.name)}
        rules = replace(rules, **{option: value for option, value in asked.items() if value is not None})
        for option, length in (("query_length", rules.query_length), ("document_length", rules.document_length)):
            if length > longest:
                raise InputError(f"{option} is {length:,}; '{name}' takes at most {longest:,} tokens")
        if self.attends_to_expansion and not rules.query_expansion:
            raise InputError(f"attends_to_expansion is asked, but queries of '{name}' are not expanded")
        return rules


TOKEN_OPTIONS = (
    "query_length",
    "document_length",
    "query_expansion",
    "attends_to_expansion",
    "punctuation",
    "special_tokens_as_text",
)
MACHINE_OPTIONS = ("dtype", "attention", "device")


def _check_choice(name: str, value: str | None, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")
