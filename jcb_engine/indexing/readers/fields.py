"""From a record (a mapping of field names to values) to a document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from jcb_engine.errors import InputError
from jcb_engine.indexing.readers.records import Fields
from jcb_engine.types import Document, JsonValue

# Beyond this many field names a message stops listing them: wide tables have hundreds.
_NAMES_IN_MESSAGE = 20
# Deeper values would meet Python's limit of recursion somewhere between here and the JSON of a hit.
_DEEPEST_LEVEL = 100


class UnusableRecordError(InputError):
    """A record gives no document; readers turn it into a BadRecord with its place."""


def resolve_fields(fields: Fields, names: Sequence[str]) -> Fields:
    """The fields that hold id, title and text among `names`; title is None where there is none.

    Raises UnusableRecordError naming the fields that are there when the id or the text is missing, or when a field
    that was named (not guessed) is.
    """
    id_name = fields.id or ("_id" if "_id" in names else "id")
    text_name = fields.text or "text"
    title_name = fields.title or ("title" if "title" in names else None)
    for role, name in (("id", id_name), ("text", text_name), ("title", title_name)):
        if name is not None and name not in names:
            wanted = "'_id' or 'id'" if role == "id" and fields.id is None else repr(name)
            raise UnusableRecordError(
                f"no field {wanted}; the fields here are {_listed(names)}; "
                f"rename the one that holds the {role}, or name it in a build: --{role}-field"
            )
    return Fields(id=id_name, title=title_name, text=text_name)


def document_from_record(record: Mapping[str, object], fields: Fields) -> Document:
    """The document that a record holds; every field that is not id, title or text becomes metadata.

    An id that is a whole number becomes a string. An object in the field `metadata` is spread into the metadata, so
    that what `--json` prints can be read back. Raises UnusableRecordError.
    """
    resolved = resolve_fields(fields, list(record))
    assert resolved.id is not None
    assert resolved.text is not None
    title = "" if resolved.title is None else record[resolved.title]
    return Document(
        id=_identifier(record[resolved.id], resolved.id),
        text=_text(record[resolved.text], resolved.text),
        title="" if title is None or resolved.title is None else _text(title, resolved.title),
        metadata=_metadata(record, {resolved.id, resolved.text, resolved.title}),
    )


def _identifier(value: object, name: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UnusableRecordError(f"the id in '{name}' is {_kind(value)}; expected a string or a whole number")
    if not value.strip():
        raise UnusableRecordError(f"the id in '{name}' is empty; every document needs one of its own")
    return _encodable(value, name)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise UnusableRecordError(f"'{name}' is {_kind(value)}; expected a string")
    return _encodable(value, name)


def _metadata(record: Mapping[str, object], used: set[str | None]) -> dict[str, JsonValue]:
    metadata: dict[str, JsonValue] = {}
    for name, value in record.items():
        if name in used:
            continue
        spread = value if name == "metadata" and isinstance(value, Mapping) else {name: value}
        for key, part in spread.items():
            if key in metadata:
                raise UnusableRecordError(f"'{key}' stands both beside and inside 'metadata'; keep one of them")
            metadata[_encodable(key, "a field name")] = _json_value(part, key)
    return metadata


def _json_value(value: object, name: str, level: int = 1) -> JsonValue:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return _encodable(value, name)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnusableRecordError(f"'{name}' holds {value}, which JSON cannot hold; use null")
        return value
    if isinstance(value, Mapping | list | tuple) and level > _DEEPEST_LEVEL:
        raise UnusableRecordError(f"'{name}' is nested too deeply; at most {_DEEPEST_LEVEL} levels are kept")
    if isinstance(value, Mapping):
        return {_key(key, name): _json_value(part, name, level + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(part, name, level + 1) for part in value]
    raise UnusableRecordError(f"'{name}' is {_kind(value)}, which metadata cannot hold; expected JSON values")


def _key(key: object, name: str) -> str:
    if not isinstance(key, str):
        raise UnusableRecordError(f"a key inside '{name}' is {_kind(key)}; expected a string")
    return _encodable(key, name)


def _encodable(value: str, name: str) -> str:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UnusableRecordError(
            f"'{name}' holds half a surrogate pair (\\u{ord(value[error.start]):04x}), which is no text"
        ) from None
    return value


def _kind(value: object) -> str:
    """The type of a value in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return f"a number ({value})"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else f"of type {type(value).__name__}"


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:_NAMES_IN_MESSAGE])
    return f"{shown} and {len(names) - _NAMES_IN_MESSAGE} more" if len(names) > _NAMES_IN_MESSAGE else shown
