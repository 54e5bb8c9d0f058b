"""Writing the documents of a segment: a scratch database that is read while it grows, then sealed into one file.

The scratch database needs no durability (its journal is off, nothing is synced): it is lost with the transaction.
Sealing copies it in row order by VACUUM INTO and sends the bytes through the door of files.py like every other file.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jcb_engine.errors import InputError
from jcb_engine.storage.checksum import FileRecord, HashedFile
from jcb_engine.storage.documents import APPLICATION_ID, FORMAT, INDEX, PAGE_BYTES, TABLE, DocumentTable
from jcb_engine.storage.failures import scratch, writing
from jcb_engine.storage.files import CHUNK_BYTES, Files
from jcb_engine.types import Document

_CACHE_KIB = 16384  # bounds the memory of a build; SQLite spills the rest into the scratch file
_MAX_POSITION = (1 << 63) - 1
_MAX_ROW_BYTES = 900_000_000  # SQLite holds a row of at most 10^9 bytes

_Values = tuple[str, str, str, str, str | None, int | None]


class DuplicateDocumentError(InputError):
    """An id came twice. `id` is the id, `first_row` the row that has it already."""

    def __init__(self, document_id: str, first_row: int) -> None:
        super().__init__(
            f"document id {document_id!r} came before, as document {first_row} (from 0); ids must be unique"
        )
        self.id = document_id
        self.first_row = first_row


class DocumentWriter:
    """Takes documents, numbers them from 0, and gives them back while writing. Thread-safe."""

    def __init__(self, files: Files, scratch_path: str) -> None:
        self._files = files
        self._path = scratch_path
        self._lock = threading.RLock()
        self._length = 0
        with scratch(files, scratch_path):
            self._connection = _new_database(files.real_path(scratch_path))
        self._table = DocumentTable(self._connection, str(files.real_path(scratch_path)), self._lock)

    def add(self, document: Document) -> int:
        """Store a document and return its row. DuplicateDocumentError when its id is there; nothing is stored then."""
        values = _values(document)
        # With the journal off a failed statement cannot be undone: a conflict must not be a failure.
        insert = "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        with self._lock, scratch(self._files, self._path):
            row = self._length
            if self._connection.execute(insert, (row, *values)).rowcount == 0:
                raise DuplicateDocumentError(document.id, self._row_of(document.id, row))
            self._length += 1
            return row

    def replace(self, row: int, document: Document) -> None:
        """Put a document in the place of another. Its id may be new, but not that of a third document."""
        values = _values(document)
        update = (
            "UPDATE documents SET id = ?, title = ?, text = ?, metadata = ?, parent = ?, position = ? WHERE row = ?"
        )
        with self._lock, scratch(self._files, self._path):
            if not 0 <= row < self._length:
                raise InputError(f"row {row} cannot be replaced; there are rows 0 to {self._length - 1}")
            holder = self._row_of(document.id, row)
            if holder != row:
                raise DuplicateDocumentError(document.id, holder)
            self._connection.execute(update, (*values, row))

    def get(self, rows: Sequence[int]) -> list[Document]:
        """Documents of `rows`, in that order."""
        return self._table.get(rows, self._length)

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Ids of `rows`, in that order."""
        return self._table.ids(rows, self._length)

    def rows_of(self, ids: Sequence[str]) -> list[int | None]:
        """Row of each id, None for an id that is not here."""
        return self._table.rows_of(ids, self._length)

    def iterate(self, start: int = 0, stop: int | None = None, batch_size: int = 512) -> Iterator[list[Document]]:
        """Documents of rows start:stop in order, a batch at a time. Those added meanwhile are not seen."""
        return self._table.iterate(start, self._length if stop is None else min(stop, self._length), batch_size)

    def __len__(self) -> int:
        return self._length

    def seal(self, target: str) -> FileRecord:
        """Write the sealed file and close. Nothing can be added or read afterwards."""
        sealed = f"{self._path}.sealed"
        with self._lock:
            with scratch(self._files, self._path):
                self._connection.execute("COMMIT")
                self._connection.execute("VACUUM INTO ?", (str(self._files.real_path(sealed)),))
            self.close()
        return _copy(self._files, sealed, target)

    def close(self) -> None:
        """Close the scratch database."""
        self._table.close()

    def _row_of(self, document_id: str, default: int) -> int:
        found = self._connection.execute("SELECT row FROM documents WHERE id = ?", (document_id,)).fetchone()
        return default if found is None else int(found[0])


def _new_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    pragmas = (
        f"page_size={PAGE_BYTES}",
        "encoding='UTF-8'",
        "auto_vacuum=NONE",
        f"application_id={APPLICATION_ID}",
        f"user_version={FORMAT}",
        "journal_mode=OFF",
        "synchronous=OFF",
        "locking_mode=EXCLUSIVE",
        "secure_delete=OFF",
        f"cache_size=-{_CACHE_KIB}",
    )
    try:
        for statement in (*(f"PRAGMA {pragma}" for pragma in pragmas), "BEGIN", TABLE, INDEX):
            connection.execute(statement)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _values(document: Document) -> _Values:
    """The columns of a document. InputError for what cannot be stored and given back unchanged."""
    metadata = _metadata_json(document)
    size = len(metadata)
    for column, text in (("id", document.id), ("title", document.title), ("text", document.text)):
        size += _checked_bytes(document.id, column, text)
    if size > _MAX_ROW_BYTES:
        raise InputError(f"document {document.id!r} has {size:,} bytes; at most {_MAX_ROW_BYTES:,}: split it")
    if document.id == "":
        raise InputError("a document has an empty id; give each document an id of its own")
    if document.parent is not None:
        _checked_bytes(document.id, "parent", document.parent)
    position = document.position
    if position is not None and (type(position) is not int or not 0 <= position <= _MAX_POSITION):
        raise InputError(f"document {document.id!r}: position {position!r}; expected a whole number from 0, or None")
    return document.id, document.title, document.text, metadata, document.parent, position


def _checked_bytes(document_id: str, column: str, text: str) -> int:
    """Size of a text in UTF-8. InputError when it is none, or is not valid Unicode."""
    if not isinstance(text, str):
        raise InputError(f"document {document_id!r}: {column} is a {type(text).__name__}; expected text")
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise InputError(
            f"document {document_id!r}: {column} is not valid Unicode ({error.reason}); repair the text"
        ) from error


def _metadata_json(document: Document) -> str:
    if not document.metadata:
        return "{}"
    try:
        text = json.dumps(document.metadata, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"document {document.id!r}: metadata cannot be stored as JSON: {error}") from error
    if (bad := _key_that_is_no_text(document.metadata)) is not None:
        raise InputError(
            f"document {document.id!r}: metadata has the key {bad[0]!r}; JSON takes text only, use {str(bad[0])!r}"
        )
    if not text.startswith("{"):
        raise InputError(f"document {document.id!r}: metadata is not a mapping; expected names with JSON values")
    return text


def _key_that_is_no_text(value: object) -> tuple[object] | None:
    """A key that JSON would turn into text, in a tuple of one; None where there is none."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str):
                return (key,)
            if (bad := _key_that_is_no_text(part)) is not None:
                return bad
    elif isinstance(value, list | tuple):
        return next((bad for part in value if (bad := _key_that_is_no_text(part)) is not None), None)
    return None


def _copy(files: Files, sealed: str, target: str) -> FileRecord:
    """Send a scratch file through the door; SQLite's own file would pass it by."""
    path = files.real_path(sealed)
    copy = HashedFile(files, target)
    try:
        with writing(files, sealed), path.open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                copy.write(chunk)
            path.unlink()
    except BaseException:
        copy.abandon()
        raise
    return copy.finish()
