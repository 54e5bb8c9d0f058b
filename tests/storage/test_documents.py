"""Documents come back as they went in, from any thread, from a file whose bytes follow from them alone."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.storage import DocumentReader, DocumentWriter, DuplicateDocumentError
from jcb_engine.storage.documents import APPLICATION_ID, INDEX, TABLE
from jcb_engine.types import Document

from .sample_index import UnsyncedFiles

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_DOCUMENT = st.builds(
    Document,
    id=_TEXT.filter(bool),
    text=_TEXT,
    title=_TEXT,
    metadata=st.dictionaries(_TEXT, _JSON, max_size=3),
    parent=st.none() | _TEXT,
    position=st.none() | st.integers(0, 2**63 - 1),
)
_DOCUMENTS = st.lists(_DOCUMENT, max_size=8, unique_by=lambda document: document.id)


def _writer(folder: Path) -> DocumentWriter:
    folder.mkdir(parents=True, exist_ok=True)
    return DocumentWriter(UnsyncedFiles(folder), "scratch.sqlite")


def _sealed(folder: Path, documents: list[Document]) -> DocumentReader:
    writer = _writer(folder)
    for document in documents:
        writer.add(document)
    record = writer.seal("documents.sqlite")
    return DocumentReader.open(folder / "documents.sqlite", len(documents), record.size)


def _many(count: int) -> list[Document]:
    return [Document(id=f"id-{row}", text=f"text {row} " * 20, metadata={"row": row}) for row in range(count)]


@settings(max_examples=40, deadline=None)
@given(documents=_DOCUMENTS)
def test_documents_come_back_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document]
) -> None:
    reader = _sealed(tmp_path_factory.mktemp("documents"), documents)
    rows = list(range(len(documents)))
    assert reader.get(rows[::-1]) == documents[::-1]
    assert reader.ids(rows) == [document.id for document in documents]
    assert reader.rows_of([*reader.ids(rows), "\ud800", ""]) == [*rows, None, None]
    assert [document for batch in reader.iterate(batch_size=3) for document in batch] == documents
    assert len(reader) == len(documents)
    assert reader.check_all() == []
    reader.close()


def test_the_same_documents_give_the_same_bytes_whatever_happened_before(tmp_path: Path) -> None:
    documents = _many(700)
    _sealed(tmp_path / "a", documents).close()
    writer = _writer(tmp_path / "b")
    for document in documents:
        row = writer.add(Document(id=f"old {document.id}", text="to be replaced " * 9))
        writer.replace(row, document)
        with pytest.raises(DuplicateDocumentError):
            writer.add(document)
    writer.seal("documents.sqlite")
    content = (tmp_path / "a" / "documents.sqlite").read_bytes()
    assert content == (tmp_path / "b" / "documents.sqlite").read_bytes()
    assert int.from_bytes(content[16:18], "big") == 4096
    assert content[68:72] == b"JCBD"
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"scratch.sqlite", "documents.sqlite"}


def test_a_writer_reads_back_while_it_grows_and_a_batch_of_an_iteration_does_not_block_it(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    documents = _many(10)
    for document in documents:
        writer.add(document)
    seen = []
    for batch in writer.iterate(batch_size=4):
        seen += batch
        writer.add(Document(id=f"added after {len(seen)}", text=""))
    assert seen == documents
    assert len(writer) == 13
    assert writer.get([12, 3]) == [Document(id="added after 10", text=""), documents[3]]
    assert writer.ids([0]) == ["id-0"]
    assert writer.rows_of(["id-9", "id-10"]) == [9, None]
    writer.close()


def test_an_id_that_came_before_names_its_first_row_and_changes_nothing(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    for document in _many(3):
        writer.add(document)
    with pytest.raises(DuplicateDocumentError, match="'id-1' came before, as document 1") as raised:
        writer.add(Document(id="id-1", text="other"))
    assert (raised.value.id, raised.value.first_row, len(writer)) == ("id-1", 1, 3)
    with pytest.raises(DuplicateDocumentError):
        writer.replace(0, Document(id="id-2", text="other"))
    writer.replace(0, Document(id="id-0", text="other"))
    assert [document.text[:6] for document in writer.get([0, 1, 2])] == ["other", "text 1", "text 2"]
    writer.close()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (Document(id="", text=""), "empty id"),
        (Document(id="\ud800", text=""), "not valid Unicode"),
        (Document(id="a", text="\udfff"), "text is not valid Unicode"),
        (Document(id=7, text=""), "id is a int"),  # type: ignore[arg-type]
        (Document(id="a", text=None), "text is a NoneType"),  # type: ignore[arg-type]
        (Document(id="a", text="", metadata={"x": float("nan")}), "metadata cannot be stored as JSON"),
        (Document(id="a", text="", metadata={"x": {1, 2}}), "metadata cannot be stored as JSON"),  # type: ignore[dict-item]
        (Document(id="a", text="", metadata={1: "x"}), "metadata has the key 1; JSON takes text only, use '1'"),  # type: ignore[dict-item]
        (Document(id="a", text="", metadata={"x": [{None: 1}]}), "metadata has the key None"),  # type: ignore[dict-item]
        (Document(id="a", text="", metadata=["x"]), "metadata is not a mapping"),  # type: ignore[arg-type]
        (Document(id="a", text="", position=-1), "position -1"),
        (Document(id="a", text="", position=2**63), "position 9223372036854775808"),
    ],
)
def test_what_cannot_be_given_back_is_refused(tmp_path: Path, document: Document, reason: str) -> None:
    writer = _writer(tmp_path)
    with pytest.raises(InputError, match=reason):
        writer.add(document)
    assert len(writer) == 0
    writer.close()


def test_rows_outside_and_a_closed_reader_are_input_errors(tmp_path: Path) -> None:
    reader = _sealed(tmp_path, _many(2))
    for rows in ([2], [-1], [0, 10**30]):
        with pytest.raises(InputError, match="rows 0 to 1"):
            reader.get(rows)
    with pytest.raises(InputError, match="expected a start from 0"):
        next(reader.iterate(-1))
    reader.close()
    with pytest.raises(InputError, match="closed"):
        reader.get([0])


def test_a_sealed_writer_takes_nothing_more(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    writer.seal("documents.sqlite")
    with pytest.raises(InputError, match="sealed"):
        writer.add(Document(id="a", text=""))


def test_many_threads_read_one_file_even_after_its_name_went(tmp_path: Path) -> None:
    documents = _many(200)
    reader = _sealed(tmp_path, documents)
    (tmp_path / "documents.sqlite").unlink()
    failures: list[BaseException] = []

    def read(offset: int) -> None:
        try:
            for start in range(offset, 200, 7):
                rows = list(range(start, min(start + 20, 200)))
                assert reader.get(rows) == documents[start : start + 20]
                assert reader.rows_of([f"id-{row}" for row in rows]) == rows
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader.close()
    assert failures == []


def _hostile(path: Path, *statements: str, schema: tuple[str, ...] = (TABLE, INDEX)) -> DocumentReader:
    connection = sqlite3.connect(path)
    for statement in (f"PRAGMA application_id={APPLICATION_ID}", *schema, *statements):
        connection.execute(statement)
    connection.commit()
    connection.close()
    return DocumentReader.open(path, 2, path.stat().st_size)


_ROWS = "INSERT INTO documents VALUES (0, 'a', '', '', '{}', NULL, NULL), (1, 'b', '', '', '{}', NULL, NULL)"


@pytest.mark.parametrize(
    "schema",
    [
        (),
        (TABLE,),
        (TABLE, INDEX, "CREATE VIEW v AS SELECT 1"),
        (TABLE, INDEX, "CREATE TRIGGER t AFTER INSERT ON documents BEGIN SELECT 1; END"),
        (TABLE.replace("title TEXT", "title BLOB"), INDEX),
        ("CREATE VIEW documents AS SELECT 0 AS row, 'a' AS id",),
    ],
)
def test_another_schema_is_refused(tmp_path: Path, schema: tuple[str, ...]) -> None:
    with pytest.raises(CorruptIndexError, match="schema differs"):
        _hostile(tmp_path / "d.sqlite", schema=schema)


def test_a_plain_file_or_another_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 1000)
    (tmp_path / "empty").touch()
    for name in ("text", "empty"):
        with pytest.raises(CorruptIndexError, match=name):
            DocumentReader.open(tmp_path / name, 0, 12_000)


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("UPDATE documents SET text = x'ff' WHERE row = 1", lambda reader: reader.get([1])),
        ("UPDATE documents SET text = CAST(x'ff' AS TEXT) WHERE row = 1", lambda reader: reader.get([1])),
        ("UPDATE documents SET id = x'00' WHERE row = 1", lambda reader: reader.ids([1])),
        ("UPDATE documents SET metadata = '[1]' WHERE row = 1", lambda reader: reader.get([1])),
        ("UPDATE documents SET metadata = '{' WHERE row = 1", lambda reader: reader.get([1])),
        (f"UPDATE documents SET metadata = '{'[' * 100_000}' WHERE row = 1", lambda reader: reader.get([1])),
        (f"UPDATE documents SET metadata = '{'9' * 10_000}' WHERE row = 1", lambda reader: reader.get([1])),
        ("UPDATE documents SET position = -5 WHERE row = 1", lambda reader: reader.get([1])),
        ("UPDATE documents SET position = 'x' WHERE row = 1", lambda reader: reader.get([1])),
        ("UPDATE documents SET parent = x'01' WHERE row = 1", lambda reader: reader.get([1])),
        ("UPDATE documents SET row = -7 WHERE row = 0", lambda reader: reader.rows_of(["a"])),
        ("UPDATE documents SET row = -7 WHERE row = 0", lambda reader: reader.get([0])),
        ("UPDATE documents SET row = -7 WHERE row = 0", lambda reader: list(reader.iterate())),
    ],
)
def test_values_that_no_writer_makes_are_damage(
    tmp_path: Path, change: str, read: Callable[[DocumentReader], object]
) -> None:
    reader = _hostile(tmp_path / "d.sqlite", _ROWS, change)
    with pytest.raises(CorruptIndexError, match=r"d\.sqlite"):
        read(reader)
    reader.close()


def test_a_message_of_sqlite_that_is_no_text_is_damage_too(tmp_path: Path) -> None:
    _sealed(tmp_path, _many(2)).close()
    path = tmp_path / "documents.sqlite"
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE \xe5ABLE"))
    with pytest.raises(CorruptIndexError, match=r"documents\.sqlite is damaged"):
        DocumentReader.open(path, 2, path.stat().st_size)


@pytest.fixture(scope="module")
def sealed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    _sealed(folder, _many(30)).close()
    return folder / "documents.sqlite"


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_of_a_file_gives_an_answer_or_our_errors(sealed_file: Path, data: st.DataObject) -> None:
    original = sealed_file.read_bytes()
    content = bytearray(original)
    # Structure lies at the start of a page; texts, which are most of a file, tell little.
    for _ in range(data.draw(st.integers(1, 12))):
        page = data.draw(st.integers(0, len(content) // 4096 - 1))
        content[page * 4096 + data.draw(st.integers(0, 130) | st.integers(0, 4095))] = data.draw(st.integers(0, 255))
    try:
        sealed_file.write_bytes(content)
        try:
            reader = DocumentReader.open(sealed_file, 30, len(content))
        except CorruptIndexError:
            return
        for read in (
            lambda: reader.get(range(30)),
            lambda: reader.ids(range(30)),
            lambda: reader.rows_of([f"id-{row}" for row in range(31)]),
            lambda: list(reader.iterate(batch_size=7)),
            reader.check_all,
        ):
            with contextlib.suppress(CorruptIndexError):
                read()
        reader.close()
    finally:
        sealed_file.write_bytes(original)


def test_a_file_with_another_number_of_documents_is_damage(tmp_path: Path) -> None:
    with pytest.raises(CorruptIndexError, match="the last row is 5; expected 1"):
        _hostile(tmp_path / "more.sqlite", _ROWS, "UPDATE documents SET row = 5 WHERE row = 1")
    reader = _hostile(tmp_path / "gap.sqlite", _ROWS, "DELETE FROM documents WHERE row = 0")
    assert len(reader.check_all()) == 1
    reader.close()
