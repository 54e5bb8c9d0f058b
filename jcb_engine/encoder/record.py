"""What an index remembers of the encoder that made it, so that no query is encoded by another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from jcb_engine.errors import EncoderError
from jcb_engine.types import JsonValue


@dataclass(frozen=True, slots=True)
class EncoderRecord:
    """An encoder's identity. None: not known, and then not compared.

    family: "mini", "colbert" (a checkpoint that we load ourselves), "multi-vector" (a sentence-transformers
        MultiVectorEncoder), "single-vector" (one vector for a text) or "object" (a caller's own).
    name: what loads it: "mini@1", a folder, a name on the hub, or the class of an object.
    revision: the commit on the hub that was asked for.
    head_version, head_sha256: the projection to `dim` and the hash of its file, where it comes apart from the weights.
    weights_sha256, tokenizer_sha256: hashes of the files.
    query_length, document_length, query_expansion, attends_to_expansion, punctuation, special_tokens_as_text,
    query_marker, document_marker: as in TokenRules; a marker that is not there is the empty text.
    language: the adapter of an X-MOD model. pooling: how one vector was made of all of a text.
    token_pooling: so many token vectors of a document became one; queries are not pooled, so it is not compared.
    """

    family: str
    name: str
    revision: str | None = None
    dim: int | None = None
    head_version: int | None = None
    head_sha256: str | None = None
    weights_sha256: str | None = None
    tokenizer_sha256: str | None = None
    query_length: int | None = None
    document_length: int | None = None
    query_expansion: bool | None = None
    attends_to_expansion: bool | None = None
    punctuation: str | None = None
    special_tokens_as_text: bool | None = None
    query_marker: str | None = None
    document_marker: str | None = None
    language: str | None = None
    pooling: str | None = None
    token_pooling: float | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """Every field by name, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EncoderRecord:
        """The record in what `to_json` gave. Fields of later versions are left out.

        Raises EncoderError where family or name are missing or a field has another type.
        """
        try:
            record = cls(**{field.name: value[field.name] for field in fields(cls) if field.name in value})
        except TypeError as error:
            raise EncoderError(f"the record of an encoder needs a family and a name; {value!r} came") from error
        for name, allowed in _ALLOWED_TYPES.items():
            came = getattr(record, name)
            if type(came) not in allowed:
                raise EncoderError(f"the record of an encoder has {name} {came!r}; expected {allowed[0].__name__}")
        return record

    def differences(self, other: EncoderRecord) -> list[str]:
        """One line for each known field in which the two differ; empty: vectors of both can be compared.

        Equal weights make equal encoders wherever they were loaded from, so then name and revision may differ.
        """
        same_weights = self.weights_sha256 is not None and self.weights_sha256 == other.weights_sha256
        ignored = {"token_pooling", *(("name", "revision") if same_weights else ())}
        lines = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name not in ignored and mine is not None and theirs is not None and mine != theirs:
                lines.append(f"{field.name} is {mine!r} here and {theirs!r} there")
        return lines


_TEXT, _TEXT_OR_NONE, _NUMBER_OR_NONE, _SWITCH_OR_NONE = (
    (str,),
    (str, type(None)),
    (int, type(None)),
    (bool, type(None)),
)
_ALLOWED_TYPES: Mapping[str, tuple[type, ...]] = {
    "family": _TEXT,
    "name": _TEXT,
    "revision": _TEXT_OR_NONE,
    "dim": _NUMBER_OR_NONE,
    "head_version": _NUMBER_OR_NONE,
    "head_sha256": _TEXT_OR_NONE,
    "weights_sha256": _TEXT_OR_NONE,
    "tokenizer_sha256": _TEXT_OR_NONE,
    "query_length": _NUMBER_OR_NONE,
    "document_length": _NUMBER_OR_NONE,
    "query_expansion": _SWITCH_OR_NONE,
    "attends_to_expansion": _SWITCH_OR_NONE,
    "punctuation": _TEXT_OR_NONE,
    "special_tokens_as_text": _SWITCH_OR_NONE,
    "query_marker": _TEXT_OR_NONE,
    "document_marker": _TEXT_OR_NONE,
    "language": _TEXT_OR_NONE,
    "pooling": _TEXT_OR_NONE,
    "token_pooling": (float, int, type(None)),
}
