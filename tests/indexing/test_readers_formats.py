"""Formats are guessed by name; what is unknown is refused with the names that are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from jcb_engine.errors import InputError
from jcb_engine.indexing.readers import FORMATS, Fields, SkipBad, guess_format, read_source


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "jsonl"),
        ("a.json", "jsonl"),
        ("a.jsonl.gz", "jsonl"),
        ("a.CSV", "csv"),
        ("a.csv.gz", "csv"),
        ("a.tsv.GZ", "tsv"),
        ("a.parquet", "parquet"),
        ("a.txt", "folder"),
        ("a.b.pdf", "folder"),
    ],
)
def test_the_name_of_a_file_tells_its_format(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).touch()
    assert guess_format(tmp_path / name) == kind
    assert kind in FORMATS


def test_folders_standard_input_and_python_docs_are_told_apart(tmp_path: Path) -> None:
    assert guess_format("-") == "jsonl"
    assert guess_format(tmp_path) == "folder"
    (tmp_path / "corpus.jsonl").touch()
    assert guess_format(tmp_path) == "beir"
    assert guess_format("python-docs") == "python-docs"


@pytest.mark.parametrize("name", ["a.docx", "a", "a.parquet.gz", "a.txt.gz", "a.gz"])
def test_an_unknown_type_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        read_source(tmp_path / name, on_bad=SkipBad())
    message = str(caught.value)
    assert f"unknown type of file: {name}" in message
    assert all(known in message for known in (".jsonl", ".csv", ".parquet", ".pdf", *FORMATS))


def test_a_format_given_by_hand_overrides_the_name(tmp_path: Path) -> None:
    path = tmp_path / "corpus.data"
    path.write_text("id\ttext\na\tx\n")
    assert [item.document.id for item in read_source(path, format="tsv", on_bad=SkipBad())] == ["a"]


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown format 'xml'; known are jsonl, tsv, csv, parquet, beir, folder"):
        read_source(tmp_path, format="xml", on_bad=SkipBad())


@pytest.mark.parametrize("kind", [None, "jsonl", "csv", "parquet", "folder", "beir"])
def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path, kind: str | None) -> None:
    with pytest.raises(InputError, match=r"missing\.jsonl"):
        list(read_source(tmp_path / "missing.jsonl", format=kind, on_bad=SkipBad()))


def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "corpus.jsonl"
    path.touch()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"cannot read .*corpus\.jsonl: Permission denied"):
        list(read_source(path, on_bad=SkipBad()))


@pytest.mark.parametrize("name", ["x" * 300, "a\0b.jsonl"])
@pytest.mark.parametrize("kind", [None, "jsonl", "csv", "parquet", "folder", "beir"])
def test_a_name_that_no_file_can_have_is_an_error(tmp_path: Path, name: str, kind: str | None) -> None:
    with pytest.raises(InputError, match=name[:1]):
        list(read_source(tmp_path / name, format=kind, on_bad=SkipBad()))


@pytest.mark.parametrize("kind", [None, "folder", "beir"])
def test_a_folder_that_may_not_be_entered_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str | None
) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(InputError, match=r"cannot read .*: Permission denied"):
        list(read_source(tmp_path, format=kind, on_bad=SkipBad()))


def test_a_path_that_may_not_be_looked_at_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(InputError, match=r"cannot read .*closed/a\.jsonl: Permission denied"):
        guess_format(tmp_path / "closed" / "a.jsonl")


def test_python_docs_takes_neither_source_nor_fields() -> None:
    with pytest.raises(InputError, match="takes no source"):
        read_source("elsewhere", format="python-docs", on_bad=SkipBad())
    with pytest.raises(InputError, match="no fields to name"):
        read_source("python-docs", fields=Fields(id="x"), on_bad=SkipBad())


def test_python_docs_gives_documents_with_places() -> None:
    first = next(read_source("python-docs", on_bad=SkipBad(1000)))
    assert first.document.id
    assert first.document.text
    assert first.place
