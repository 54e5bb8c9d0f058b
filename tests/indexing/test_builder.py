"""build_index: reads everything first, honours duplicates as told, splits on request, reports what it did."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jcb_engine import Document, Encoder, Searcher
from jcb_engine.errors import InputError
from jcb_engine.indexing import BuildOptions, build_index
from jcb_engine.indexing.readers import SourceDocument
from jcb_engine.storage import Snapshot
from tests.conftest import HashingEncoder


def source(*documents: Document) -> Iterator[SourceDocument]:
    for line, document in enumerate(documents, start=1):
        yield SourceDocument(document, f"corpus.jsonl:{line}")


class RecordingProgress:
    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.advanced: dict[str, int] = {}

    def stage(self, name: str, total: int | None) -> None:
        self.stages.append((name, total))

    def advance(self, count: int) -> None:
        name = self.stages[-1][0]
        self.advanced[name] = self.advanced.get(name, 0) + count


TWICE = (Document(id="a", text="first words"), Document(id="b", text="other"), Document(id="a", text="second words"))


def test_every_document_is_encoded_once(tmp_path: Path) -> None:
    class CountingEncoder(HashingEncoder):
        texts = 0

        def encode_document(self, texts: list[str]) -> object:
            self.texts += len(texts)
            return super().encode_document(texts)

    encoder = CountingEncoder()
    documents = [Document(id=str(number), text=f"text number {number}") for number in range(700)]
    report = build_index(source(*documents), tmp_path / "index", Encoder(encoder))
    assert encoder.texts == 700
    assert (report.documents, report.tokens) == (700, 2100)
    with Searcher.open(tmp_path / "index", encoder=encoder) as searcher:
        for wanted in ("0", "77", "699"):
            assert searcher.search(f"number {wanted}", k=1)[0].id == wanted


def test_progress_is_told_stage_by_stage(tmp_path: Path) -> None:
    progress = RecordingProgress()
    documents = [Document(id=str(number), text=f"text number {number}") for number in range(300)]
    build_index(source(*documents), tmp_path / "index", Encoder(HashingEncoder()), progress=progress)
    names = [name for name, _ in progress.stages]
    assert names == ["reading", "sampling", "training", "compressing", "committing"]
    assert progress.advanced["reading"] == progress.advanced["compressing"] == 300


def test_a_duplicate_id_is_an_error_that_names_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"corpus.jsonl:3: id 'a' was used before, by document 1"):
        build_index(source(*TWICE), tmp_path / "index", Encoder(HashingEncoder()))
    with pytest.raises(Exception, match="index"):
        Snapshot.open(tmp_path / "index")


@pytest.mark.parametrize(("rule", "text"), [("skip", "first words"), ("last", "second words")])
def test_duplicates_are_skipped_or_replace_as_told(tmp_path: Path, rule: str, text: str) -> None:
    options = BuildOptions(on_duplicate=rule)
    report = build_index(source(*TWICE), tmp_path / "index", Encoder(HashingEncoder()), options)
    assert (report.documents, report.duplicates) == (2, 1)
    with Searcher.open(tmp_path / "index", encoder=HashingEncoder()) as searcher:
        assert {hit.id: hit.text for hit in searcher.search("words other", k=5)} == {"a": text, "b": "other"}


def test_long_documents_are_split_into_passages_that_name_their_parent(tmp_path: Path) -> None:
    long = Document(id="book", text=" ".join(f"word{number}" for number in range(50)), metadata={"shelf": 3})
    options = BuildOptions(split_tokens=20, split_overlap=5)
    report = build_index(
        source(long, Document(id="note", text="word3 word44")), tmp_path / "index", Encoder(HashingEncoder()), options
    )
    assert report.documents > 3
    with Searcher.open(tmp_path / "index", encoder=HashingEncoder()) as searcher:
        hit = searcher.search("word44 word45", k=1)[0]
        assert hit.id == f"book#{hit.position}"
        assert hit.parent == "book"
        assert "word44" in hit.text
        assert [found.parent or found.id for found in searcher.search("word3 word44", k=5, by="parent")] in (
            ["note#0", "book"],
            ["note", "book"],
            ["book", "note"],
        )


@pytest.mark.parametrize("lengths", [(50, 5), (5, 50)])
def test_skipping_a_duplicate_skips_all_its_passages(tmp_path: Path, lengths: tuple[int, int]) -> None:
    texts = [
        " ".join(f"{name}{number}" for number in range(n)) for name, n in zip(("old", "new"), lengths, strict=True)
    ]
    options = BuildOptions(split_tokens=10, on_duplicate="skip")
    documents = [Document(id="a", text=text) for text in texts]
    report = build_index(source(*documents), tmp_path / "index", Encoder(HashingEncoder()), options)
    assert report.duplicates == 1
    with Snapshot.open(tmp_path / "index") as snapshot:
        stored = snapshot.segments[0].documents.get(range(report.documents))
    assert "".join(document.text for document in stored) == texts[0]
    with pytest.raises(InputError, match="cannot go with splitting"):
        BuildOptions(split_tokens=10, on_duplicate="last")


def test_a_text_of_a_megabyte_and_an_empty_one_are_stored(tmp_path: Path) -> None:
    big = Document(id="big", text="lorem ipsum " * 90_000)
    report = build_index(
        source(Document(id="empty", text=""), big, Document(id="small", text="dolor")),
        tmp_path / "index",
        Encoder(HashingEncoder(8)),
    )
    assert (report.documents, report.empty_documents) == (3, 1)
    with Searcher.open(tmp_path / "index", encoder=HashingEncoder(8)) as searcher:
        assert {hit.id for hit in searcher.search("dolor", k=5)} == {"big", "small"}


@pytest.mark.parametrize(
    "options",
    [{"on_duplicate": "maybe"}, {"split_tokens": 0}, {"split_tokens": 5, "split_overlap": 5}, {"split_overlap": -1}],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        BuildOptions(**options)
