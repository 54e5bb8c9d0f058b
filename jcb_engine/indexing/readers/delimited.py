"""CSV and TSV with a header row.

CSV follows RFC 4180: quotes, doubled inside, line ends allowed between them. TSV follows IANA's
text/tab-separated-values: a quote is an ordinary character, so that a text which begins with one does not swallow the
lines after it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator

from jcb_engine.errors import InputError
from jcb_engine.indexing.readers.fields import UnusableRecordError, document_from_record, resolve_fields
from jcb_engine.indexing.readers.records import BadRecord, Fields, OnBad, SourceDocument
from jcb_engine.indexing.readers.streams import decode_reason, numbered_lines, place_name


def read_csv(source: str, fields: Fields, on_bad: OnBad) -> Iterator[SourceDocument]:
    """Documents of a comma-separated file (or .gz of it), or of standard input ("-")."""
    _allow_long_fields()
    yield from _read(_Table(source, comma=True), fields, on_bad)


def read_tsv(source: str, fields: Fields, on_bad: OnBad) -> Iterator[SourceDocument]:
    """Documents of a tab-separated file (or .gz of it), or of standard input ("-")."""
    _allow_long_fields()
    yield from _read(_Table(source, comma=False), fields, on_bad)


def _read(table: _Table, fields: Fields, on_bad: OnBad) -> Iterator[SourceDocument]:
    header = _header(table, fields)
    for line, values in table.rows(on_bad):
        place = f"{table.name}:{line}"
        if len(values) != len(header):
            on_bad(BadRecord(place, f"{len(values)} columns; the header has {len(header)}"))
            continue
        try:
            document = document_from_record(dict(zip(header, values, strict=True)), fields)
        except UnusableRecordError as error:
            on_bad(BadRecord(place, str(error)))
            continue
        yield SourceDocument(document, place)


def _header(table: _Table, fields: Fields) -> list[str]:
    """The names of the columns, none for an empty file; raises InputError when they cannot serve."""
    line, header = next(table.rows(_refuse), (0, []))
    if not header:
        return []
    place = f"{table.name}:{line}"
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise InputError(f"{place}: the header names {', '.join(repeated)} more than once; rename a column")
    try:
        resolve_fields(fields, header)
    except UnusableRecordError as error:
        raise InputError(f"{place}: the header row has {error}; where the file has no header, add one") from None
    return header


def _refuse(record: BadRecord) -> None:
    raise InputError(f"{record}; without its header row a table cannot be read")


class _Table:
    """Rows of a delimited source. Broken lines are reported with their own number, and reading goes on after them."""

    def __init__(self, source: str, *, comma: bool) -> None:
        self.name = place_name(source)
        self._source = source
        self._broken: list[BadRecord] = []
        self._exhausted = False
        if comma:
            self._parser = csv.reader(self._lines(), strict=True)
        else:
            self._parser = csv.reader(self._lines(), delimiter="\t", quoting=csv.QUOTE_NONE)

    def rows(self, on_bad: OnBad) -> Iterator[tuple[int, list[str]]]:
        """(number of the first line, values) of each row that is not blank."""
        while True:
            line = self._parser.line_num + 1
            try:
                values = next(self._parser)
            except StopIteration:
                return
            except csv.Error as error:
                self._refuse_open_quote(line, error)
                spans = f", in lines {line} to {self._parser.line_num}" if self._parser.line_num > line else ""
                self._broken.append(BadRecord(f"{self.name}:{line}", f"not a row: {error}{spans}"))
                values = []
            if self._broken:
                record = self._broken[0]
                self._broken.clear()
                on_bad(record)
            elif values:
                yield line, values

    def _refuse_open_quote(self, line: int, error: csv.Error) -> None:
        """A quote that is never closed has taken all the rest of the file with it: that is no single bad record."""
        if self._exhausted and self._parser.line_num > line:
            raise InputError(
                f"{self.name}:{line}: not a row: {error}. A quote opened in it is not closed before the end of the "
                f"file, line {self._parser.line_num}; close it, or save the table as TSV"
            ) from error

    def _lines(self) -> Iterator[str]:
        for number, line in numbered_lines(self._source):
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                self._broken.append(BadRecord(f"{self.name}:{number}", decode_reason(error)))
                # still given to the parser, which has to see the quotes to find where the row ends
                yield line.decode(errors="replace")
        self._exhausted = True


def _allow_long_fields() -> None:
    """Let a field be of any length.

    The csv module keeps one limit (131,072 characters) for the whole process and takes none per parser, so this is
    the one setting that a reader changes for others; it is only ever raised.
    """
    if csv.field_size_limit() < sys.maxsize:
        csv.field_size_limit(sys.maxsize)
