"""IndexWriter: commits on leaving or not at all, takes any vectors, and refuses what it cannot keep."""

from pathlib import Path

import numpy as np
import pytest

from jcb_engine import Document, Encoder, IndexWriter, Searcher
from jcb_engine.errors import IndexExistsError, IndexNotFoundError, InputError, NotAnIndexError
from jcb_engine.storage import Snapshot, verify
from jcb_engine.types import check_ragged
from tests.conftest import HashingEncoder, brute_force, random_embeddings

DOCUMENTS = [
    Document(id="a", text="the quick brown fox", title="animals", metadata={"lang": "en", "year": 2024}),
    Document(id="b", text="a lazy dog sleeps"),
    Document(id="c", text=""),
]


def ids_of(count: int) -> list[str]:
    return [f"d{number}" for number in range(count)]


def test_documents_come_back_as_they_were_added(tmp_path: Path) -> None:
    with IndexWriter.create(tmp_path / "index", encoder=HashingEncoder(), nbits=4) as writer:
        writer.add(DOCUMENTS[:1])
        writer.add(iter(DOCUMENTS[1:]))
    assert writer.report is not None
    assert (writer.report.documents, writer.report.empty_documents, writer.report.tokens) == (3, 1, 9)
    with Snapshot.open(tmp_path / "index") as snapshot:
        assert snapshot.segments[0].documents.get([0, 1, 2]) == DOCUMENTS
    assert verify(tmp_path / "index").problems == []


def test_an_error_inside_leaves_no_index(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), IndexWriter.create(tmp_path / "index", encoder=HashingEncoder()) as writer:
        writer.add(DOCUMENTS)
        raise ZeroDivisionError
    with pytest.raises((NotAnIndexError, IndexNotFoundError)):
        Searcher.open(tmp_path / "index")


def test_an_error_while_replacing_leaves_the_old_index(tmp_path: Path) -> None:
    with IndexWriter.create(tmp_path / "index", encoder=HashingEncoder()) as writer:
        writer.add(DOCUMENTS)
    with pytest.raises(IndexExistsError):
        IndexWriter.create(tmp_path / "index", encoder=HashingEncoder())
    with (
        pytest.raises(ZeroDivisionError),
        IndexWriter.create(tmp_path / "index", encoder=HashingEncoder(), overwrite=True) as writer,
    ):
        writer.add([Document(id="z", text="other")])
        raise ZeroDivisionError
    with Searcher.open(tmp_path / "index", encoder=HashingEncoder()) as searcher:
        assert searcher.version == 1
        assert searcher.search("lazy dog", k=1)[0].id == "b"


def test_overwriting_publishes_a_new_version(tmp_path: Path) -> None:
    for text in ("old words", "new words"):
        with IndexWriter.create(tmp_path / "index", encoder=HashingEncoder(), overwrite=True) as writer:
            writer.add([Document(id="only", text=text)])
    with Searcher.open(tmp_path / "index", encoder=HashingEncoder()) as searcher:
        assert searcher.version == 2
        assert searcher.search("words")[0].text == "new words"


@pytest.mark.parametrize("nbits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_vectors_of_ones_own_are_searchable_whatever_their_norms(tmp_path: Path, nbits: int, dtype: type) -> None:
    values, offsets = random_embeddings(120, 32)
    values *= np.random.default_rng(3).uniform(0.5, 4, (len(values), 1)).astype(np.float32)
    values[5] = 0
    values = values.astype(dtype)
    with IndexWriter.create(tmp_path / "index", dim=32, nbits=nbits) as writer:
        for first, last in ((0, 50), (50, 51), (51, 120)):
            chunk = slice(offsets[first], offsets[last])
            writer.add_vectors(ids_of(120)[first:last], values[chunk], offsets[first : last + 1] - offsets[first])
    query = np.random.default_rng(9).standard_normal((6, 32)).astype(np.float32)
    expected = brute_force(query, values.astype(np.float32), offsets)
    with Searcher.open(tmp_path / "index") as searcher:
        hits = searcher.search(query, k=120, exact=True)
    assert len(hits) == np.isfinite(expected).sum()
    tolerance = {1: 0.35, 2: 0.2, 4: 0.05, 8: 0.01, 16: 0.004}[nbits] * np.abs(expected[np.isfinite(expected)]).mean()
    for hit in hits:
        assert hit.score == pytest.approx(expected[int(hit.id[1:])], abs=tolerance)


def test_documents_may_carry_text_beside_their_vectors(tmp_path: Path) -> None:
    values, offsets = random_embeddings(3, 8, seed=2)
    with IndexWriter.create(tmp_path / "index", dim=8) as writer:
        writer.add_vectors([Document(id="x", text="kept"), "y", "z"], values, offsets)
    with Searcher.open(tmp_path / "index") as searcher:
        assert {hit.id: hit.text for hit in searcher.search(values[:2], k=3)}["x"] == "kept"


def test_an_add_that_fails_half_way_commits_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="nothing was committed"),
        IndexWriter.create(tmp_path / "index", encoder=HashingEncoder()) as writer,
    ):
        writer.add(DOCUMENTS[:2])
        with pytest.raises(InputError, match="'a'"):
            writer.add([Document(id="new", text="x"), Document(id="a", text="again")])
    with pytest.raises((NotAnIndexError, IndexNotFoundError)):
        Searcher.open(tmp_path / "index")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    values, offsets = random_embeddings(5, 8)
    values[4, 1] = bad
    with pytest.raises(InputError, match="token vector 4 of these holds NaN or infinity"):
        with IndexWriter.create(tmp_path / "index", dim=8) as writer:
            writer.add_vectors(ids_of(5), values, offsets)


def test_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no document was added"):
        with IndexWriter.create(tmp_path / "index", encoder=HashingEncoder()):
            pass
    with pytest.raises(InputError, match="none of the 2 documents has a token vector"):
        with IndexWriter.create(tmp_path / "index", encoder=HashingEncoder()) as writer:
            writer.add([Document(id="a", text=""), Document(id="b", text="  ")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nbits": 3}, "nbits is 3; it must be one of 1, 2, 4, 8, 16"),
        ({"nbits": "4"}, "nbits is '4', a str; it must be a whole number"),
        ({"nbits": True}, "nbits is True, a bool"),
        ({"centroids": 2.5}, "centroids is 2.5, a float"),
        ({"dim": 0}, "dim is 0"),
        ({"centroids": 0}, "centroids is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"max_ram_bytes": 10}, "max_ram is 10 bytes"),
        ({"faiss_factory": "Nonsense"}, "'Nonsense' is not a factory string of FAISS"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_made(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        IndexWriter.create(tmp_path / "index", **options)
    assert not (tmp_path / "index").exists()


def test_wrong_uses_say_what_to_do(tmp_path: Path) -> None:
    values, offsets = random_embeddings(2, 8)
    with pytest.raises(InputError, match="takes several documents; pass \\[document\\]"):
        with IndexWriter.create(tmp_path / "a", encoder=HashingEncoder()) as writer:
            writer.add(DOCUMENTS[0])
    with pytest.raises(InputError, match="no encoder"):
        with IndexWriter.create(tmp_path / "b", dim=8) as writer:
            writer.add(DOCUMENTS)
    with pytest.raises(InputError, match="texts or vectors, not both"):
        with IndexWriter.create(tmp_path / "c", encoder=HashingEncoder(8)) as writer:
            writer.add(DOCUMENTS)
            writer.add_vectors(["v", "w"], values, offsets)
    with pytest.raises(InputError, match=r"2 ids came with offsets of shape \[4\]"):
        with IndexWriter.create(tmp_path / "d", dim=8) as writer:
            writer.add_vectors(["v", "w"], values, np.array([0, 0, 0, len(values)]))
    with pytest.raises(InputError, match="32 dimensions and dim=64"):
        IndexWriter.create(tmp_path / "e", encoder=Encoder(HashingEncoder(32)), dim=64)


def test_norms_may_differ_by_any_factor(tmp_path: Path) -> None:
    values, offsets = random_embeddings(60, 16, seed=3)
    values = values.astype(np.float64)
    for row, factor in enumerate([1e5, 1e-23, 1e-30, 30.0, 1e-4, 0.0]):
        values[row] *= factor
    for scale in (1.0, 1e-25, 1e19, 3e31):
        scaled = (values * scale).astype(np.float32)
        for nbits in (2, 16):
            with IndexWriter.create(tmp_path / "index", dim=16, nbits=nbits, overwrite=True) as writer:
                writer.add_vectors(ids_of(60), scaled, offsets)
            query = np.random.default_rng(1).standard_normal((4, 16)).astype(np.float32)
            expected = brute_force(query, scaled.astype(np.float64) / scale, offsets)
            with Searcher.open(tmp_path / "index") as searcher:
                for hit in searcher.search(query, k=60, exact=True):
                    wanted = expected[int(hit.id[1:])]
                    assert hit.score / scale == pytest.approx(wanted, rel=0.35, abs=0.8), (scale, nbits)


def test_fp16_vectors_stored_raw_come_back_bit_for_bit(tmp_path: Path) -> None:
    values = np.array([[60_000, 1e-3, 0], [1, 2**-24, -0.5], [3, 4, 5]], dtype=np.float16)
    with IndexWriter.create(tmp_path / "index", dim=3, nbits=16) as writer:
        writer.add_vectors(["a"], values, np.array([0, 3]))
    with Snapshot.open(tmp_path / "index") as snapshot:
        np.testing.assert_array_equal(snapshot.segments[0].array("codes"), values)


def test_an_index_that_could_not_be_opened_is_not_published(tmp_path: Path) -> None:
    values, offsets = random_embeddings(50, 20, seed=3)
    with IndexWriter.create(tmp_path / "index", dim=20) as writer:
        writer.add_vectors(ids_of(50), values, offsets)
    with pytest.raises(InputError, match="cannot build 'IVF4096,Flat' over 16 centroids"):
        with IndexWriter.create(
            tmp_path / "index", dim=20, faiss_factory="IVF4096,Flat", centroids=16, overwrite=True
        ) as writer:
            writer.add_vectors(ids_of(50), values, offsets)
    with Searcher.open(tmp_path / "index") as searcher:
        assert searcher.version == 1


def test_a_time_that_is_none_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(InputError, match="SOURCE_DATE_EPOCH"):
        IndexWriter.create(tmp_path / "index", dim=4)
    assert not (tmp_path / "index").exists()


def test_a_target_that_cannot_be_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(NotAnIndexError, match="other things"):
        IndexWriter.create(tmp_path / "notes", encoder="no-such-model/at-all")


def test_the_same_input_and_seed_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    values, offsets = random_embeddings(60, 16)
    for name in ("one", "two"):
        with IndexWriter.create(tmp_path / name, dim=16, nbits=2, seed=5) as writer:
            writer.add_vectors(ids_of(60), values, offsets)
    first, second = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    )
    first = {path: data for path, data in first.items() if path.name != "LOCK"}
    second = {path: data for path, data in second.items() if path.name != "LOCK"}
    assert first == second


def test_a_corpus_sorted_by_topic_trains_on_all_topics(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    topics = np.repeat(np.eye(16, dtype=np.float32), 40, axis=0)
    values = topics + 0.05 * random.standard_normal(topics.shape).astype(np.float32)
    offsets = np.arange(len(values) + 1)
    with IndexWriter.create(tmp_path / "index", dim=16, nbits=2, centroids=80) as writer:
        writer.add_vectors(ids_of(len(values)), values, offsets)
    with Snapshot.open(tmp_path / "index") as snapshot:
        (codec_id,) = {segment.codec_id for segment in snapshot.segments}
        codec = snapshot.codec(codec_id)
        centroids = codec.array("centroids") @ codec.array("rotation").T
    assert set(centroids.argmax(axis=1).tolist()) == set(range(16))


def test_offsets_and_ids_that_cannot_be_are_told_by_what_is_wrong_with_them(tmp_path: Path) -> None:
    values = np.ones((12, 4), np.float32)
    with IndexWriter.create(tmp_path / "index", dim=4) as writer:
        with pytest.raises(InputError, match=r"offsets must rise; offset 1 is 9 and the next one 5"):
            check_ragged(values, np.array([0, 9, 5, 12]))
        with pytest.raises(InputError, match=r"ids is the text 'abc'; expected a list of ids, such as \['abc'\]"):
            writer.add_vectors("abc", values, np.array([0, 3, 9, 12]))
        writer.add_vectors(["a"], values, np.array([0, 12]))
