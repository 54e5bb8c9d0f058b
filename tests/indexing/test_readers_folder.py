"""Folders of text, Markdown, HTML and PDF: ids are relative paths, hidden names are skipped, broken files told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from jcb_engine.errors import InputError, MissingDependencyError
from jcb_engine.indexing.readers import GUESSED_FIELDS, BadRecord, Fields, SkipBad, SourceDocument, read_source
from jcb_engine.types import Document


def read(source: Path, fields: Fields = GUESSED_FIELDS) -> tuple[list[SourceDocument], list[BadRecord]]:
    bad: list[BadRecord] = []
    return list(read_source(source, fields=fields, on_bad=bad.append)), bad


def put(root: Path, name: str, content: bytes = b"text") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pdf(*pages: str) -> bytes:
    """A PDF made by hand, one line of text per page."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, page in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    content = b"%PDF-1.4\n"
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return content + f"{end}startxref\n{len(content)}\n%%EOF\n".encode()


def test_files_come_in_the_order_of_their_paths_which_are_their_ids(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a.txt", "a/b/c.TXT", "Z.htm", "a-1.txt"):
        put(tmp_path, name)
    found, bad = read(tmp_path)
    ids = [item.document.id for item in found]
    assert bad == []
    assert ids == ["Z.htm", "a-1.txt", "a.txt", "a/b/c.TXT", "a/z.md", "b.txt"] == sorted(ids)
    assert found[3].place == str(tmp_path / "a/b/c.TXT")


def test_hidden_names_other_types_and_linked_folders_are_skipped(tmp_path: Path) -> None:
    for name in ("kept.txt", ".hidden.txt", ".git/note.md", "data.bin", "README"):
        put(tmp_path, name)
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    assert [item.document.id for item in read(tmp_path)[0]] == ["kept.txt"]


def test_text_is_taken_as_it_is_without_the_byte_order_mark(tmp_path: Path) -> None:
    put(tmp_path, "a.md", "\ufeff# Über\r\n\r\n*x*\n".encode())
    put(tmp_path, "b.txt", b"")
    assert [item.document for item in read(tmp_path)[0]] == [
        Document("a.md", "# Über\r\n\r\n*x*\n"),
        Document("b.txt", ""),
    ]


def test_one_file_is_a_source_too(tmp_path: Path) -> None:
    path = put(tmp_path, "note.txt", b"hello")
    assert read(path)[0] == [SourceDocument(Document("note.txt", "hello"), str(path))]


def test_a_file_that_cannot_be_used_is_reported_and_the_others_come(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", b"one\ntwo \xff\n")
    put(tmp_path, "b.txt", b"fine")
    put(tmp_path, "c.html", b"<p>caf\xe9</p>")
    put(tmp_path, "d.html", b"<![foo[x")
    put(tmp_path, "e.pdf", b"not a pdf")
    put(tmp_path, "f.pdf", pdf("x")[:200])
    (tmp_path / "g.txt").symlink_to(tmp_path / "gone")
    found, bad = read(tmp_path)
    assert [item.document.id for item in found] == ["b.txt"]
    assert [Path(record.place).name for record in bad] == ["a.txt", "c.html", "d.html", "e.pdf", "f.pdf", "g.txt"]
    reasons = [record.reason for record in bad]
    assert "byte 0xff in line 2" in reasons[0]
    assert "byte 0xe9 in line 1 is not UTF-8" in reasons[1]
    assert reasons[2].startswith("not readable as HTML")
    assert reasons[3].startswith("not a readable PDF")
    assert reasons[4].startswith("not a readable PDF")
    assert "No such file" in reasons[5]


def test_a_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "wb") as file:
        file.write(b"x")
    found, bad = read(tmp_path)
    assert found == []
    assert bad[0].place == f"{tmp_path}/caf\ufffd.txt"
    assert "name of the file is not UTF-8" in bad[0].reason


def test_html_gives_its_title_and_the_text_that_a_browser_shows(tmp_path: Path) -> None:
    content = """<!DOCTYPE html><html><head><title> The
      title </title><style>p {color: red}</style></head><body><script>var x = "<p>no</p>";</script>
      <h1>Head</h1><p>One <b>b</b>old&amp;new<br>line</p><!-- not this --><ul><li>first<li>second</ul>
      <table><tr><td>l</td><td>r</td></tr></table><noscript>nor this</noscript></body></html>"""
    put(tmp_path, "a.html", content.encode())
    document = read(tmp_path)[0][0].document
    assert document.title == "The title"
    assert document.text == "Head\nOne bold&new\nline\nfirst\nsecond\nl\nr"


@pytest.mark.parametrize(
    "content",
    [
        '<meta charset="iso-8859-1"><p>café</p>'.encode("latin-1"),
        "<p>café</p>".encode(),
        "\ufeff<p>café</p>".encode("utf-16-le"),
        "\ufeff<p>café</p>".encode(),
        # what is unknown, or could not itself be read if it were true, counts as no declaration
        *[
            f'<meta charset="{name}"><p>café</p>'.encode()
            for name in (
                "nonsense",
                "undefined",
                "utf-16",
                "utf-32le",
                "utf-7",
                "idna",
                "unicode_escape",
                "base64",
                "a\0b",
            )
        ],
    ],
)
def test_html_is_decoded_as_it_declares(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "a.html", content)
    assert read(tmp_path)[0][0].document.text == "café"


def test_html_without_closing_tags_keeps_its_text(tmp_path: Path) -> None:
    put(tmp_path, "a.html", b"<head><title>T</title><body><p>one<p>two")
    assert read(tmp_path)[0][0].document == Document("a.html", "one\ntwo", "T")


def test_html_of_any_depth_is_read_in_linear_time(tmp_path: Path) -> None:
    put(tmp_path, "a.html", b"<div>x" * 20_000)
    assert read(tmp_path)[0][0].document.text == "x\n" * 19_999 + "x"


@pytest.mark.parametrize("content", [b"", b"index.html", b"<p><p></div><<>"])
def test_strange_html_gives_no_warning(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "a.html", content)
    found, bad = read(tmp_path)
    assert len(found) + len(bad) == 1


def test_pdf_gives_the_text_of_all_pages(tmp_path: Path) -> None:
    put(tmp_path, "a.pdf", pdf("First page", "", "Third page"))
    assert read(tmp_path)[0][0].document == Document("a.pdf", "First page\n\nThird page")


def test_a_pdf_with_a_password_is_reported(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    writer = pypdf.PdfWriter(clone_from=put(tmp_path, "plain.pdf", pdf("secret")))
    writer.encrypt("password", algorithm="RC4-128")
    writer.write(tmp_path / "closed.pdf")
    found, bad = read(tmp_path)
    assert [item.document.id for item in found] == ["plain.pdf"]
    assert "wants a password" in bad[0].reason


def test_a_folder_with_nothing_to_read_is_an_error_with_the_known_types(tmp_path: Path) -> None:
    put(tmp_path, "a.docx")
    with pytest.raises(InputError, match=r"no file to read in .*\.txt, \.md, \.html, \.htm, \.pdf"):
        read(tmp_path)


def test_one_file_of_an_unknown_type_is_an_error_with_the_known_types(tmp_path: Path) -> None:
    path = put(tmp_path, "notes.rst")
    with pytest.raises(InputError, match=r"'notes\.rst' .*; known types are \.txt, \.md, \.html, \.htm, \.pdf"):
        list(read_source(path, format="folder", on_bad=SkipBad(5)))


def test_fields_cannot_be_named_for_files(tmp_path: Path) -> None:
    put(tmp_path, "a.txt")
    with pytest.raises(InputError, match="no fields to name"):
        read(tmp_path, Fields(text="body"))


@pytest.mark.parametrize(("name", "package"), [("a.html", "bs4"), ("a.pdf", "pypdf")])
def test_without_its_package_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    put(tmp_path, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"jcb-engine\[readers\]"):
        read(tmp_path)
