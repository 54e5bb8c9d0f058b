"""JSON lines: one object per line; blank lines are skipped."""

from __future__ import annotations

import json
from collections.abc import Iterator

from jcb_engine.indexing.readers.fields import UnusableRecordError, document_from_record
from jcb_engine.indexing.readers.records import BadRecord, Fields, OnBad, SourceDocument
from jcb_engine.indexing.readers.streams import decode_reason, numbered_lines, place_name


def read_jsonl(source: str, fields: Fields, on_bad: OnBad) -> Iterator[SourceDocument]:
    """Documents of a .jsonl or .json file (or .gz of it), or of standard input ("-"), one object per line."""
    name = place_name(source)
    for number, line in numbered_lines(source):
        place = f"{name}:{number}"
        try:
            record = json_object(line)
            document = None if record is None else document_from_record(record, fields)
        except UnusableRecordError as error:
            on_bad(BadRecord(place, str(error)))
            continue
        if document is not None:
            yield SourceDocument(document, place)


def json_object(line: bytes) -> dict[str, object] | None:
    """The object that a line holds; None where the line is blank. Raises UnusableRecordError."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise UnusableRecordError(decode_reason(error)) from None
    if not text.strip():
        return None
    try:
        record = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise UnusableRecordError(
            f"not JSON: {error.msg} at column {error.colno}; expected one object per line"
        ) from None
    except ValueError as error:
        # a number with more digits than Python turns into an integer
        raise UnusableRecordError(f"not JSON: {error}") from None
    except RecursionError:
        raise UnusableRecordError("JSON nested too deeply; expected an object of a few levels") from None
    if not isinstance(record, dict):
        raise UnusableRecordError(f"JSON of another kind ({type(record).__name__}); expected one object per line")
    return record


def _refuse_constant(constant: str) -> object:
    raise UnusableRecordError(f"{constant} is no JSON value; use null")
