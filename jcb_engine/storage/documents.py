"""Documents of a segment: one sealed SQLite file, read only and never changed.

Database: page size 4096, UTF-8, application_id b"JCBD", user_version 0 (the format), rollback journal off; sealed by
VACUUM, so equal documents give equal bytes (with the same version of SQLite, which writes its own number into the
header). Schema, compared text by text when a segment opens:

    documents.row       position of the document in the segment, from 0 without gaps
    documents.id        the user's id, unique in the segment
    documents.title     "" when there is none
    documents.text
    documents.metadata  JSON object
    documents.parent    id of the document that a passage was cut from, or null
    documents.position  number of the passage in its parent from 0, or null
    documents_by_id     index: id -> row

A file may be hostile: no triggers or views can be in it, sizes and types are checked, rows must come in order.
History: 0, the first.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from jcb_engine.errors import CorruptIndexError, InputError, JcbError
from jcb_engine.storage.failures import storage_error
from jcb_engine.types import Document, Metadata

APPLICATION_ID = int.from_bytes(b"JCBD", "big")
FORMAT = 0
PAGE_BYTES = 4096
TABLE = (
    "CREATE TABLE documents (row INTEGER PRIMARY KEY, id TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL, "
    "metadata TEXT NOT NULL, parent TEXT, position INTEGER)"
)
INDEX = "CREATE UNIQUE INDEX documents_by_id ON documents (id)"
SCHEMA = [("index", "documents_by_id", INDEX), ("table", "documents", TABLE)]
# SQLite quotes bytes of a damaged file in its messages, which Python may then fail to decode.
_READ_ERRORS = (sqlite3.Error, UnicodeDecodeError)
_ROWS_AT_ONCE = 100
_COLUMNS = "row, id, title, text, metadata, parent, position"


class DocumentTable:
    """Reads of one connection, from any thread: a lock lets one thread in at a time (a read takes microseconds)."""

    def __init__(self, connection: sqlite3.Connection, name: str, lock: threading.RLock | None = None) -> None:
        self._connection = connection
        self._name = name
        self._lock = lock or threading.RLock()

    def get(self, rows: Sequence[int], length: int) -> list[Document]:
        """Documents of `rows`, in that order. InputError for a row that is not from 0 to length - 1."""
        wanted = [self._check_row(row, length) for row in rows]
        found: dict[int, tuple[object, ...]] = {}
        with self._reading():
            for first in range(0, len(wanted), _ROWS_AT_ONCE):
                found.update(self._rows(wanted[first : first + _ROWS_AT_ONCE]))
            return [self._document(row, found[row]) for row in wanted]

    def ids(self, rows: Sequence[int], length: int) -> list[str]:
        """Ids of `rows`, in that order."""
        with self._reading():
            found = [self._one("SELECT id FROM documents WHERE row = ?", self._check_row(row, length)) for row in rows]
            return [self._text(row[0], "id") for row in found]

    def rows_of(self, ids: Sequence[str], length: int) -> list[int | None]:
        """Row of each id, None for an id that is not here."""
        with self._reading():
            return [self._row_of(document_id, length) for document_id in ids]

    def iterate(self, start: int, stop: int, batch_size: int) -> Iterator[list[Document]]:
        """Documents of rows start:stop in order, a batch at a time."""
        if start < 0 or batch_size < 1:
            raise InputError(
                f"documents from {start} in batches of {batch_size}; expected a start from 0, batches from 1"
            )
        select = f"SELECT {_COLUMNS} FROM documents WHERE row >= ? AND row < ? ORDER BY row"
        for first in range(start, stop, batch_size):
            last = min(first + batch_size, stop)
            with self._reading():
                # One row more than there can be: a damaged tree must not fill the memory.
                found = self._connection.execute(select, (first, last)).fetchmany(last - first + 1)
                if len(found) != last - first:
                    raise CorruptIndexError(f"{self._name}: rows {first} to {last - 1} hold {len(found)} documents")
                batch = [self._document(first + position, row) for position, row in enumerate(found)]
            yield batch

    def last_row(self) -> int:
        """Highest row, -1 when there is none."""
        with self._reading():
            (row,) = self._connection.execute("SELECT max(row) FROM documents").fetchone()
            return -1 if row is None else int(row)

    def check_all(self, length: int) -> list[str]:
        """Problems of the file's structure and of the number of documents: reads all of it."""
        with self._reading():
            # First, because counting in a tree with cycles may take for ever.
            (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                return [f"{self._name}: {verdict}"]
            counts = self._connection.execute("SELECT count(*), min(row), max(row) FROM documents").fetchone()
        expected = (length, 0, length - 1) if length else (0, None, None)
        if counts != expected:
            return [f"{self._name}: (documents, first row, last row) are {counts}; expected {expected}"]
        return []

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Hold the lock; a failure of SQLite is damage, since nothing else can fail in a read of a file of ours."""
        with self._lock:
            try:
                yield
            except _READ_ERRORS as error:
                raise _read_error(self._name, error) from error

    def _row_of(self, document_id: str, length: int) -> int | None:
        if not isinstance(document_id, str):
            raise InputError(f"document id {document_id!r} is a {type(document_id).__name__}; expected text")
        try:
            document_id.encode()
        except UnicodeEncodeError:
            return None  # half a surrogate pair: such an id cannot have been stored
        found = self._connection.execute("SELECT row FROM documents WHERE id = ?", (document_id,)).fetchone()
        return None if found is None else self._row(found[0], length)

    def _rows(self, rows: list[int]) -> dict[int, tuple[object, ...]]:
        """The columns of these rows, in one statement: a search asks for ten, and statements cost more than rows."""
        select = f"SELECT {_COLUMNS} FROM documents WHERE row IN ({','.join('?' * len(rows))})"
        # One row more than there can be: a damaged tree must not fill the memory.
        fetched = self._connection.execute(select, rows).fetchmany(len(rows) + 1)
        found = {row[0]: row for row in fetched}
        missing = next((row for row in rows if row not in found), None)
        if missing is not None:
            raise CorruptIndexError(f"{self._name} has no row {missing}")
        return found

    def _one(self, select: str, row: int) -> tuple[object, ...]:
        found = self._connection.execute(select, (row,)).fetchone()
        if found is None:
            raise CorruptIndexError(f"{self._name} has no row {row}")
        return tuple(found)

    def _check_row(self, row: int, length: int) -> int:
        if not 0 <= row < length:
            raise InputError(f"row {row} of {self._name}; it has rows 0 to {length - 1}")
        return int(row)

    def _document(self, expected_row: int, values: tuple[object, ...]) -> Document:
        row, document_id, title, text, metadata, parent, position = values
        if row != expected_row:
            raise CorruptIndexError(f"{self._name}: row {row!r} stands where row {expected_row} belongs")
        return Document(
            id=self._text(document_id, "id"),
            title=self._text(title, "title"),
            text=self._text(text, "text"),
            metadata=self._metadata(self._text(metadata, "metadata")),
            parent=None if parent is None else self._text(parent, "parent"),
            position=None if position is None else self._row(position, None),
        )

    def _text(self, value: object, column: str) -> str:
        if not isinstance(value, str):
            raise CorruptIndexError(f"{self._name}: {column} is a {type(value).__name__}; expected text")
        return value

    def _row(self, value: object, length: int | None) -> int:
        if not isinstance(value, int) or value < 0 or (length is not None and value >= length):
            raise CorruptIndexError(f"{self._name}: number {value!r:.80}; expected 0 to {length or 'any'}")
        return value

    def _metadata(self, text: str) -> Metadata:
        if text == "{}":
            return {}
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorruptIndexError(f"{self._name}: metadata is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise CorruptIndexError(f"{self._name}: metadata is not a JSON object")
        return value


class DocumentReader:
    """The documents of a published segment. Thread-safe; the file is opened at once and outlives its name."""

    def __init__(self, table: DocumentTable, length: int) -> None:
        self._table = table
        self._length = length

    @staticmethod
    def open(path: Path, length: int, file_bytes: int) -> DocumentReader:
        """Open a sealed file of `length` documents. CorruptIndexError unless schema and last row are as expected."""
        # immutable: no lock files, no journal is looked for; nobody changes a sealed file.
        uri = f"file:{quote(os.fsencode(path))}?mode=ro&immutable=1"
        try:
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        except _READ_ERRORS as error:
            raise _read_error(str(path), error) from error
        try:
            _check_schema(connection, path, file_bytes)
            table = DocumentTable(connection, str(path))
            if (last_row := table.last_row()) != length - 1:
                raise CorruptIndexError(f"{path}: the last row is {last_row}; expected {length - 1}")
        except BaseException:
            connection.close()
            raise
        return DocumentReader(table, length)

    def get(self, rows: Sequence[int]) -> list[Document]:
        """Documents of `rows`, in that order. InputError for a row that is not from 0 to len(self) - 1."""
        return self._table.get(rows, self._length)

    def ids(self, rows: Sequence[int]) -> list[str]:
        """Ids of `rows`, in that order."""
        return self._table.ids(rows, self._length)

    def rows_of(self, ids: Sequence[str]) -> list[int | None]:
        """Row of each id, None for an id that is not here."""
        return self._table.rows_of(ids, self._length)

    def iterate(self, start: int = 0, stop: int | None = None, batch_size: int = 512) -> Iterator[list[Document]]:
        """Documents of rows start:stop in order, a batch at a time."""
        return self._table.iterate(start, self._length if stop is None else min(stop, self._length), batch_size)

    def check_all(self) -> list[str]:
        """Problems of the whole file's structure; empty when it is sound."""
        return self._table.check_all(self._length)

    def close(self) -> None:
        self._table.close()

    def __len__(self) -> int:
        return self._length


def _read_error(name: str, error: sqlite3.Error | UnicodeDecodeError) -> JcbError:
    """What a failure of SQLite means for a file that nobody changes."""
    if isinstance(error, sqlite3.ProgrammingError):
        return InputError(f"{name} is closed; open the index again")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind of error
    if code == sqlite3.SQLITE_CANTOPEN:
        return storage_error(
            errno.EACCES, f"{name} cannot be opened; check its permissions and the limit of open files"
        )
    if code == sqlite3.SQLITE_IOERR:
        return storage_error(errno.EIO, f"{name} cannot be read: {error}; check the disk")
    return CorruptIndexError(f"{name} is damaged: {error}; restore the index from a copy or build it again")


def _check_schema(connection: sqlite3.Connection, path: Path, file_bytes: int) -> None:
    try:
        # Before the first read of a file that may be hostile; https://www.sqlite.org/security.html
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "query_only=ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(file_bytes, PAGE_BYTES))
        schema = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type LIMIT 9").fetchall()
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (format_version,) = connection.execute("PRAGMA user_version").fetchone()
    except _READ_ERRORS as error:
        raise _read_error(str(path), error) from error
    if schema != SCHEMA or application_id != APPLICATION_ID or format_version != FORMAT:
        raise CorruptIndexError(f"{path} is not a document file of format {FORMAT}: its schema differs")
