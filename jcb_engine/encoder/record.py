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

    family: "mini", "multi-vector" (a sentence-transformers MultiVectorEncoder) or "object" (a caller's own).
    name: what loads it: "mini@1", a folder, a name on the hub, or the class of an object.
    revision: the commit on the hub that was asked for.
    head_version, head_sha256: the projection to `dim` and the hash of its file, where it comes apart from the weights.
    weights_sha256, tokenizer_sha256: hashes of the files.
    query_length, document_length: the most tokens of a text, special ones included.
    query_expansion: whether queries are filled up with mask tokens that search too.
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
        ignored = {"name", "revision"} if same_weights else set()
        lines = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name not in ignored and mine is not None and theirs is not None and mine != theirs:
                lines.append(f"{field.name} is {mine!r} here and {theirs!r} there")
        return lines


_TEXT, _TEXT_OR_NONE, _NUMBER_OR_NONE = (str,), (str, type(None)), (int, type(None))
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
    "query_expansion": (bool, type(None)),
}
