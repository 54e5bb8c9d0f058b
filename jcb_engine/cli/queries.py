"""Queries of a batch from a file or standard input: JSON lines, lines of id<TAB>text, or one query a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType

from jcb_engine.errors import InputError
from jcb_engine.indexing.readers.fields import UnusableRecordError, document_from_record
from jcb_engine.indexing.readers.jsonl import json_object
from jcb_engine.indexing.readers.records import GUESSED_FIELDS
from jcb_engine.indexing.readers.streams import decode_reason, numbered_lines, place_name


@dataclass(frozen=True, slots=True)
class BatchQuery:
    """A query with the id that the run names it by."""

    id: str
    text: str


def read_queries(source: str, format_name: str | None) -> list[BatchQuery]:
    """All queries of a file, or of standard input ("-"). Blank lines are skipped.

    format_name: "jsonl", "tsv" or "lines"; None: JSON lines where the first line begins with a brace, tab-separated
    where it has a tab, else lines. Raises InputError with file and line for what is no query: a bad line, a blank
    text, an id that comes twice or has white space in it.
    """
    lines = ((number, line) for number, line in numbered_lines(source) if not _is_blank(line))
    first = next(lines, None)
    if first is None:
        raise InputError(f"{place_name(source)} holds no query; one line each is expected")
    parse = _parser(format_name, first[1])
    found: dict[str, BatchQuery] = {}
    for number, line in chain([first], lines):
        place = f"{place_name(source)}:{number}"
        try:
            if parse is _from_line and format_name is None and b"\t" in line:
                raise UnusableRecordError(
                    "has a tab, and the first line has none: say what the lines are, --from tsv (id<TAB>text) or "
                    "--from lines"
                )
            query = parse(number, line)
        except UnusableRecordError as error:
            raise InputError(f"{place}: {error}") from None
        _check(query, found, place)
        found[query.id] = query
    return list(found.values())


def _parser(format_name: str | None, first_line: bytes) -> Callable[[int, bytes], BatchQuery]:
    if format_name is None:
        format_name = "jsonl" if first_line.lstrip().startswith(b"{") else "tsv" if b"\t" in first_line else "lines"
    if format_name not in _PARSERS:
        raise InputError(f"unknown form of queries '{format_name}'; known are {', '.join(_PARSERS)}")
    return _PARSERS[format_name]


def _check(query: BatchQuery, found: Mapping[str, BatchQuery], place: str) -> None:
    if not query.text.strip():
        raise InputError(f"{place}: query '{query.id}' is blank; it needs at least one word")
    if query.id in found:
        raise InputError(f"{place}: query id '{query.id}' came before; ids must be unique")
    check_run_word(query.id, f"{place}: query id", "give the query another id")


def check_run_word(word: str, role: str, advice: str) -> None:
    """Raise InputError for what cannot be a column of a TREC run, whose columns are separated by white space."""
    if not word or word.split() != [word]:
        raise InputError(
            f"{role} '{word}' is empty or has white space, which a column of a TREC run cannot hold; {advice}"
        )


def _is_blank(line: bytes) -> bool:
    """Whether a line holds nothing but white space, that of other scripts too."""
    try:
        return not line.decode().strip()
    except UnicodeDecodeError:
        return False


def _from_json(number: int, line: bytes) -> BatchQuery:
    record = json_object(line)
    assert record is not None, "blank lines are skipped"
    document = document_from_record(record, GUESSED_FIELDS)
    return BatchQuery(document.id, document.text)


def _from_tab_separated(number: int, line: bytes) -> BatchQuery:
    query_id, tab, text = _decoded(line).partition("\t")
    if not tab:
        raise UnusableRecordError("no tab; expected id<TAB>text")
    return BatchQuery(query_id.strip(), text.strip())


def _from_line(number: int, line: bytes) -> BatchQuery:
    return BatchQuery(str(number), _decoded(line).strip())


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UnusableRecordError(decode_reason(error)) from None


_PARSERS: Mapping[str, Callable[[int, bytes], BatchQuery]] = MappingProxyType(
    {"jsonl": _from_json, "tsv": _from_tab_separated, "lines": _from_line}
)
