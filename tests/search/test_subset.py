"""A subset is searched as if the index held nothing else: k hits while it has them, and no other document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jcb_engine import Document, IndexWriter, Searcher
from jcb_engine.errors import InputError
from jcb_engine.indexing import MuveraOptions
from tests.conftest import random_embeddings
from tests.search.conftest import DIM, DOCUMENTS, query_vectors


def ids_of(numbers: np.ndarray) -> list[str]:
    return [f"d{number:03}" for number in numbers.tolist()]


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"probes": 2, "candidates": 20}], ids=str)
@pytest.mark.parametrize("size", [1, 5, 60, 400, 800])
def test_hits_are_the_best_of_the_subset(searcher: Searcher, size: int, options: dict[str, object]) -> None:
    chosen = ids_of(np.random.default_rng(size).choice(DOCUMENTS, size, replace=False))
    subset = searcher.subset(chosen)
    assert len(subset) == size
    shares = []
    for seed in range(8):
        query = query_vectors(seed=seed)
        everything = [hit.id for hit in searcher.search(query, DOCUMENTS, exact=True)]
        wanted = [name for name in everything if name in set(chosen)][:10]
        hits = searcher.search(query, 10, subset=subset, **options)  # type: ignore[arg-type]
        found = [hit.id for hit in hits]
        assert set(found) <= set(chosen)
        assert len(found) == len(wanted), "k hits, or all documents of the subset that have vectors"
        assert not hits.exact or found == wanted
        shares.append(len(set(found) & set(wanted)) / max(1, len(wanted)))
    if "probes" not in options:
        assert np.mean(shares) >= 0.95  # of vectors without any structure, the hardest there are


def test_a_sparse_subset_is_found_though_probed_lists_hold_nothing_of_it(tmp_path: Path) -> None:
    """2,000 documents near the query, none of them in the subset: its best are far from all that is probed."""
    random = np.random.default_rng(1)
    query = query_vectors(8)
    near = query[random.integers(0, 8, 2_000 * 6)] + random.normal(scale=0.05, size=(12_000, DIM))
    far = random.standard_normal((1_200 * 6, DIM))
    values = np.concatenate([near, far]).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=4, centroids=512) as writer:
        writer.add_vectors([f"d{number:04}" for number in range(3_200)], values, np.arange(3_201) * 6)
    with Searcher.open(tmp_path / "index") as searcher:
        subset = searcher.subset([f"d{number}" for number in range(2_000, 3_200)])
        exact = {hit.id for hit in searcher.search(query, 10, exact=True, subset=subset)}
        hits = searcher.search(query, 10, subset=subset, probes=1)
        assert not hits.exact  # chosen by centroids among all 1,200, and not by widening until everything was scored
        assert len(exact & {hit.id for hit in hits}) >= 6


def test_deleted_documents_are_in_no_subset(index_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = np.packbits(np.arange(DOCUMENTS) % 3 > 0, bitorder="little")
    monkeypatch.setattr("jcb_engine.search.subset.deleted_mask", lambda segments: left)
    with Searcher.open(index_path) as searcher:
        by_test = searcher.subset(where=lambda document: document.id < "d300")
        assert len(by_test) == 200
        for options in ({}, {"exact": True}):
            hits = searcher.search(query_vectors(), 300, subset=by_test, **options)  # type: ignore[arg-type]
            assert {int(hit.id[1:]) % 3 for hit in hits} == {1, 2}


def test_a_subset_is_searched_by_muvera_too(tmp_path: Path, corpus: tuple[np.ndarray, np.ndarray]) -> None:
    with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=4, centroids=64, muvera=MuveraOptions()) as writer:
        writer.add_vectors(ids_of(np.arange(DOCUMENTS)), *corpus)
    with Searcher.open(tmp_path / "index") as searcher:
        chosen = ids_of(np.arange(0, DOCUMENTS, 4))
        hits = searcher.search(query_vectors(), 10, candidates=40, subset=searcher.subset(chosen))
        assert len(hits) == 10
        assert {hit.id for hit in hits} <= set(chosen)


def test_a_subset_of_few_documents_is_searched_exactly(searcher: Searcher) -> None:
    subset = searcher.subset(ids_of(np.arange(100, 200)))
    assert searcher.search(query_vectors(), 10, subset=subset).exact


def test_a_batch_with_a_subset_gives_the_answers_of_single_searches(searcher: Searcher) -> None:
    subset = searcher.subset(ids_of(np.arange(0, DOCUMENTS, 2)))
    queries = [query_vectors(seed=seed) for seed in range(5)]
    together = searcher.search_batch(queries, 10, subset=subset)
    assert [hits.hits for hits in together] == [searcher.search(query, 10, subset=subset).hits for query in queries]


def test_documents_are_chosen_by_what_they_say_of_themselves(tmp_path: Path) -> None:
    values, offsets = random_embeddings(40, DIM, seed=3)
    documents = [Document(f"p{n % 4}#{n}", "", parent=f"p{n % 4}", metadata={"year": 2000 + n}) for n in range(40)]
    with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=4, centroids=8) as writer:
        writer.add_vectors(documents, values, offsets)
    with Searcher.open(tmp_path / "index") as searcher:
        newest = searcher.subset(where=lambda document: document.metadata["year"] >= 2035)
        hits = searcher.search(query_vectors(), 10, subset=newest)
        assert 0 < len(hits) <= 5
        assert all(hit.metadata["year"] >= 2035 for hit in hits)
        one = searcher.subset(where=lambda document: document.parent == "p2")
        assert {hit.parent for hit in searcher.search(query_vectors(), 10, subset=one)} == {"p2"}
        assert [hit.parent for hit in searcher.search(query_vectors(), 10, by="parent", subset=one)] == ["p2"]


def test_an_empty_subset_has_no_hits(searcher: Searcher) -> None:
    nothing = searcher.subset([])
    assert len(nothing) == 0
    assert len(searcher.search(query_vectors(), 10, subset=nothing)) == 0
    assert len(searcher.search(query_vectors(), 10, subset=nothing, exact=True)) == 0


def test_unknown_ids_are_named_and_counted(searcher: Searcher) -> None:
    with pytest.raises(InputError, match=r"of 6 ids no document of this index has 'x0', 'x1', 'x2' and 2 more"):
        searcher.subset(["d001", "x0", "x1", "x2", "x3", "x4"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either ids or where="),
        ({"ids": ["d001"], "where": bool}, "either ids or where="),
        ({"ids": "d001"}, "a list of ids, not one string"),
        ({"ids": [7]}, "document id 7 is a int; expected text"),
        ({"ids": 7}, "a list of ids, not 7"),
        ({"where": "year"}, "where is 'year'; it must be a function"),
    ],
)
def test_what_chooses_nothing_is_refused(searcher: Searcher, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        searcher.subset(**arguments)  # type: ignore[arg-type]


def test_a_list_of_ids_is_not_yet_a_subset(searcher: Searcher) -> None:
    with pytest.raises(InputError, match=r"make one with Searcher\.subset"):
        searcher.search(query_vectors(), subset=["d001"])  # type: ignore[arg-type]


def test_a_subset_of_another_version_is_refused(tmp_path: Path) -> None:
    def build(documents: int) -> Searcher:
        values, offsets = random_embeddings(documents, DIM, seed=5)
        with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=4, centroids=8, overwrite=True) as writer:
            writer.add_vectors(ids_of(np.arange(documents)), values, offsets)
        return Searcher.open(tmp_path / "index")

    with build(10) as old, build(11) as new:
        with pytest.raises(InputError, match=r"make it again with Searcher\.subset"):
            new.search(query_vectors(), subset=old.subset(["d001"]))


def test_recall_was_not_measured_within_a_subset(tmp_path: Path) -> None:
    values, offsets = random_embeddings(200, DIM, seed=6)
    with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=4, centroids=32) as writer:
        writer.add_vectors([f"d{number:03}" for number in range(200)], values, offsets)
    with Searcher.open(tmp_path / "index") as searcher:
        curve = searcher.tune(recall=0.9, sample=20)
        point = next(point for point in curve.points if not point.is_exact and point.margin is None)
        settings = {"probes": point.probes, "candidates": point.documents}
        assert searcher.search(query_vectors(), **settings).recall is not None  # type: ignore[arg-type]
        subset = searcher.subset(ids_of(np.arange(190)))
        with pytest.raises(InputError, match="never measured with a subset"):
            searcher.search(query_vectors(), recall=0.9, subset=subset)
        assert searcher.search(query_vectors(), subset=subset, **settings).recall is None  # type: ignore[arg-type]
        assert searcher.search(query_vectors(), recall=1.0, subset=subset).exact
