"""JSONL, CSV, TSV, BEIR folders and standard input: documents, places and every kind of bad line."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jcb_engine.errors import InputError
from jcb_engine.indexing.readers import GUESSED_FIELDS, BadRecord, Fields, SkipBad, SourceDocument, read_source
from jcb_engine.types import Document

Write = Callable[[str, bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write_file


def read(
    source: Path | str, *, kind: str | None = None, fields: Fields = GUESSED_FIELDS
) -> tuple[list[SourceDocument], list[BadRecord]]:
    bad: list[BadRecord] = []
    return list(read_source(source, format=kind, fields=fields, on_bad=bad.append)), bad


def documents(source: Path | str, *, kind: str | None = None, fields: Fields = GUESSED_FIELDS) -> list[Document]:
    found, bad = read(source, kind=kind, fields=fields)
    assert bad == []
    return [item.document for item in found]


def bad_lines(
    source: Path, *, kind: str | None = None, fields: Fields = GUESSED_FIELDS
) -> tuple[list[str], list[int], str]:
    """(ids of the documents that came, numbers of the bad lines, their reasons joined)."""
    found, bad = read(source, kind=kind, fields=fields)
    places = [record.place.rpartition(":") for record in bad]
    assert all(name == str(source) for name, _, _ in places)
    return [item.document.id for item in found], [int(line) for _, _, line in places], "; ".join(b.reason for b in bad)


# ---- JSON lines


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.json", "corpus.ndjson", "corpus.jsonl.gz", "CORPUS.JSONL.GZ"])
def test_json_lines_are_read_plain_and_compressed(write: Write, name: str) -> None:
    content = b'{"_id": "a", "title": "T", "text": "first", "lang": "en"}\n{"_id": "b", "text": "second"}'
    path = write(name.lower(), content).rename(write(name.lower(), content).with_name(name))
    found, bad = read(path)
    assert bad == []
    assert found == [
        SourceDocument(Document("a", "first", "T", {"lang": "en"}), f"{path}:1"),
        SourceDocument(Document("b", "second"), f"{path}:2"),
    ]


def test_blank_lines_byte_order_mark_and_carriage_returns_are_tolerated(write: Write) -> None:
    path = write("corpus.jsonl", b'\xef\xbb\xbf{"id": "a", "text": "x"}\r\n\r\n   \n{"id": "b", "text": "y"}\r\n')
    found, bad = read(path)
    assert bad == []
    assert [(item.document.id, item.document.text, item.place) for item in found] == [
        ("a", "x", f"{path}:1"),
        ("b", "y", f"{path}:4"),
    ]


def test_ids_that_are_whole_numbers_become_strings(write: Write) -> None:
    path = write("corpus.jsonl", b'{"id": 7, "text": "x"}\n{"id": -12345678901234567890, "text": "y"}')
    assert [document.id for document in documents(path)] == ["7", "-12345678901234567890"]


def test_underscore_id_is_preferred_and_the_other_is_metadata(write: Write) -> None:
    path = write("corpus.jsonl", b'{"id": 1, "_id": "a", "text": "x"}')
    assert documents(path) == [Document("a", "x", metadata={"id": 1})]


def test_metadata_keeps_every_json_value_nested_ones_too(write: Write) -> None:
    extra = {"n": 1, "f": 0.5, "yes": True, "none": None, "tags": ["a", ["b"]], "deep": {"x": {"y": [1]}}, "ü": "日本"}
    path = write("corpus.jsonl", json.dumps({"id": "a", "text": "x", **extra}).encode())
    assert documents(path)[0].metadata == extra


def test_metadata_may_be_a_hundred_levels_deep(write: Write) -> None:
    deep = "[" * 100 + "]" * 100
    path = write("corpus.jsonl", f'{{"id": "a", "text": "x", "deep": {deep}}}'.encode())
    assert json.dumps(documents(path)[0].metadata["deep"]) == deep


def test_an_object_named_metadata_is_spread(write: Write) -> None:
    path = write("corpus.jsonl", b'{"id": "a", "text": "x", "year": 1, "metadata": {"lang": "en"}}')
    assert documents(path)[0].metadata == {"year": 1, "lang": "en"}
    path = write("corpus.jsonl", b'{"id": "a", "text": "x", "lang": "de", "metadata": {"lang": "en"}}')
    assert "both beside and inside" in bad_lines(path)[2]


def test_fields_are_taken_by_name(write: Write) -> None:
    path = write("corpus.jsonl", b'{"key": "a", "headline": "H", "body": "B", "id": 5, "title": "t", "text": "u"}')
    fields = Fields(id="key", title="headline", text="body")
    assert documents(path, fields=fields) == [Document("a", "B", "H", {"id": 5, "title": "t", "text": "u"})]


def test_a_missing_field_is_named_with_those_that_are_there(write: Write) -> None:
    path = write("corpus.jsonl", b'{"id": "a", "body": "x", "lang": "en"}\n{"text": "y"}\n{"id": "c", "text": "z"}\n')
    ids, lines, reasons = bad_lines(path)
    assert (ids, lines) == (["c"], [1, 2])
    assert "no field 'text'; the fields here are id, body, lang" in reasons
    assert "--text-field" in reasons
    assert "no field '_id' or 'id'; the fields here are text" in reasons


def test_a_title_field_that_was_named_must_be_there(write: Write) -> None:
    path = write("corpus.jsonl", b'{"id": "a", "text": "x", "title": "t"}')
    assert "no field 'headline'" in bad_lines(path, fields=Fields(title="headline"))[2]


def test_a_null_title_is_no_title_and_an_empty_text_is_a_document(write: Write) -> None:
    path = write("corpus.jsonl", b'{"id": "a", "title": null, "text": ""}')
    assert documents(path) == [Document("a", "")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "a", "text": "caf\xe9"}', "not UTF-8: byte 0xe9 at byte 25 of the line"),
        (b'{"id": "a", "text": "x"', "not JSON: Expecting ',' delimiter"),
        (b"[1, 2]", "another kind (list)"),
        (b'"text"', "another kind (str)"),
        (b'{"id": null, "text": "x"}', "the id in 'id' is null"),
        (b'{"id": true, "text": "x"}', "the id in 'id' is true or false"),
        (b'{"id": 1.5, "text": "x"}', "the id in 'id' is a number (1.5)"),
        (b'{"id": " ", "text": "x"}', "the id in 'id' is empty"),
        (b'{"id": "a", "text": null}', "'text' is null"),
        (b'{"id": "a", "text": 3}', "'text' is a number (3)"),
        (b'{"id": "a", "text": ["x"]}', "'text' is a list"),
        (b'{"id": "a", "text": "x", "title": {}}', "'title' is an object"),
        (b'{"id": "a", "text": "x", "score": NaN}', "NaN is no JSON value"),
        (b'{"id": "a", "text": "x", "score": 1e999}', "'score' holds inf"),
        (b'{"id": "a", "text": "half \\ud83d"}', "half a surrogate pair (\\ud83d)"),
        (b'{"id": "a", "text": "x", "tags": {"k": ["\\udc00"]}}', "half a surrogate pair (\\udc00)"),
        (b'{"id": ' + b"9" * 5000 + b', "text": "x"}', "not JSON: Exceeds the limit"),
        (b"[" * 200_000, "nested too deeply"),
        # levels that the parser of JSON takes, and what follows would not
        (b'{"id": "a", "text": "x", "deep": ' + b"[" * 400 + b"]" * 400 + b"}", "'deep' is nested too deeply"),
        (b'{"id": "a", "text": "x", "deep": ' + b'{"k": ' * 400 + b"1" + b"}" * 401, "'deep' is nested too deeply"),
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_reading_goes_on(write: Write, line: bytes, reason: str) -> None:
    path = write("corpus.jsonl", b'{"id": "one", "text": "x"}\n\n' + line + b'\n{"id": "four", "text": "y"}\n')
    ids, lines, reasons = bad_lines(path)
    assert (ids, lines) == (["one", "four"], [3])
    assert reason in reasons


def test_a_line_of_any_length_is_read(write: Write) -> None:
    text = "word " * 400_000
    path = write("corpus.jsonl", json.dumps({"id": "a", "text": text}).encode() + b"\n" + b'{"id": "b", "text": ""}')
    assert [len(document.text) for document in documents(path)] == [len(text), 0]


def test_the_first_bad_record_stops_unless_some_may_be_skipped(write: Write) -> None:
    path = write("corpus.jsonl", b'{"id": "a", "text": "x"}\nbroken\n{"id": "b", "text": "y"}\nbroken\n')
    with pytest.raises(InputError, match=r"corpus\.jsonl:2: not JSON"):
        list(read_source(path, on_bad=SkipBad()))
    skip = SkipBad(2)
    assert len(list(read_source(path, on_bad=skip))) == 2
    assert [record.place for record in skip.records] == [f"{path}:2", f"{path}:4"]
    with pytest.raises(InputError, match=r"corpus\.jsonl:4: .*after 1 bad records skipped"):
        list(read_source(path, on_bad=SkipBad(1)))
    with pytest.raises(InputError, match="-1 records to skip"):
        SkipBad(-1)


def test_a_gzip_file_that_breaks_off_is_an_error_with_its_line(write: Write) -> None:
    lines = b"".join(b'{"id": "%d", "text": "%d"}\n' % (number, number * 7919) for number in range(20_000))
    path = write("corpus.jsonl.gz", lines)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"corpus\.jsonl\.gz:\d+: cannot read on: .*is the file complete"):
        read(path)
    path.write_bytes(lines)
    with pytest.raises(InputError, match=r"corpus\.jsonl\.gz:1: cannot read on: .*[Nn]ot a gzipped file"):
        read(path)


# ---- standard input


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_standard_input_is_json_lines_unless_a_format_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b'{"id": "a", "text": "x"}\nbad\n')
    found, bad = read("-")
    assert [item.place for item in found] == ["stdin:1"]
    assert [record.place for record in bad] == ["stdin:2"]
    stdin(monkeypatch, b"id,text\na,x\n")
    assert documents("-", kind="csv") == [Document("a", "x")]


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_what_standard_input_cannot_carry_is_refused(kind: str) -> None:
    with pytest.raises(InputError, match="standard input"):
        read("-", kind=kind)


# ---- CSV and TSV


@pytest.mark.parametrize("name", ["corpus.csv", "corpus.csv.gz"])
def test_csv_keeps_quoted_commas_quotes_and_line_ends(write: Write, name: str) -> None:
    path = write(name, b'id,title,text,lang\r\n1,"A, B","says ""hi""\nand more",en\r\n\r\n2,,last,de')
    found, bad = read(path)
    assert bad == []
    assert found == [
        SourceDocument(Document("1", 'says "hi"\nand more', "A, B", {"lang": "en"}), f"{path}:2"),
        SourceDocument(Document("2", "last", "", {"lang": "de"}), f"{path}:5"),
    ]


def test_tsv_takes_a_quote_as_any_other_character(write: Write) -> None:
    path = write("corpus.tsv", b'_id\ttext\na\t"so it began\nb\tand "went" on\n')
    assert documents(path) == [Document("a", '"so it began'), Document("b", 'and "went" on')]


def test_a_byte_order_mark_before_the_header_is_taken_off(write: Write) -> None:
    assert documents(write("corpus.csv", b"\xef\xbb\xbfid,text\na,x\n")) == [Document("a", "x")]


def test_a_field_of_any_length_is_read(write: Write) -> None:
    assert len(documents(write("corpus.csv", b'id,text\na,"' + b"x" * 500_000 + b'"\n'))[0].text) == 500_000


@pytest.mark.parametrize(
    ("row", "line", "reason"),
    [
        (b"c,x,extra", 3, "3 columns; the header has 2"),
        (b"c", 3, "1 columns; the header has 2"),
        (b"c,caf\xe9", 3, "not UTF-8: byte 0xe9 at byte 6 of the line"),
        (b'c,"first\nsecond \xff\nthird"', 4, "not UTF-8: byte 0xff at byte 8 of the line"),
        (b'c,"x"y', 3, "not a row"),
        (b" ,x", 3, "the id in 'id' is empty"),
    ],
)
def test_a_bad_row_is_reported_with_its_line_and_reading_goes_on(
    write: Write, row: bytes, line: int, reason: str
) -> None:
    ids, lines, reasons = bad_lines(write("corpus.csv", b"id,text\na,x\n" + row + b"\nlast,y\n"))
    assert (ids, lines) == (["a", "last"], [line])
    assert reason in reasons


def test_a_quote_that_never_closes_is_reported_where_it_opens(write: Write) -> None:
    ids, lines, reasons = bad_lines(write("corpus.csv", b'id,text\na,x\nb,"open\n'))
    assert (ids, lines) == (["a"], [3])
    assert "unexpected end of data" in reasons


def test_a_quote_that_takes_the_rest_of_the_file_with_it_is_no_single_bad_record(write: Write) -> None:
    with pytest.raises(InputError, match=r"corpus\.csv:3: not a row: .* not closed before the end of the file, line 5"):
        bad_lines(write("corpus.csv", b'id,text\na,x\nb,"open\nc,y\nd,z\n'))


def test_a_bad_row_of_several_lines_says_which(write: Write) -> None:
    ids, lines, reasons = bad_lines(write("corpus.csv", b'id,text\na,"x\ny\nz" and more\nlast,y\n'))
    assert (ids, lines) == (["last"], [2])
    assert "in lines 2 to 4" in reasons


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,body\na,x\n", r"corpus\.csv:1: the header row has no field 'text'; the fields here are id, body"),
        (b"a,x\nb,y\n", "no field '_id' or 'id'; the fields here are a, x"),
        (b"id,text,text\na,x,y\n", "names text more than once"),
        (b"id,t\xe9xt\na,x\n", r"corpus\.csv:1: not UTF-8.*header row"),
    ],
)
def test_a_header_that_cannot_serve_is_an_error(write: Write, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(write("corpus.csv", content))


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.csv", "corpus.tsv", "corpus.jsonl.gz"])
def test_an_empty_file_has_no_documents(write: Write, name: str) -> None:
    assert read(write(name, b"")) == ([], [])


# ---- BEIR


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_a_beir_folder_gives_its_corpus_alone(write: Write, tmp_path: Path, name: str) -> None:
    write(name, b'{"_id": "d1", "title": "T", "text": "x", "metadata": {}}\n')
    write("queries.jsonl", b'{"_id": "q1", "text": "?"}\n')
    assert documents(tmp_path) == [Document("d1", "x", "T")]
    assert read(tmp_path)[0][0].place == f"{tmp_path / name}:1"


def test_a_folder_without_corpus_is_no_beir_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no BEIR folder: it holds neither corpus\.jsonl nor corpus\.jsonl\.gz"):
        read(tmp_path, kind="beir")
