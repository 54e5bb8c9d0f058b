"""A subset is searched as if the index held nothing else: no hit is lost to it, and no other document is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jcb_engine import Document, IndexWriter, Searcher
from jcb_engine.errors import InputError
from tests.conftest import random_embeddings
from tests.search.conftest import DIM, DOCUMENTS, query_vectors


def ids_of(numbers: np.ndarray) -> list[str]:
    return [f"d{number:03}" for number in numbers.tolist()]


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"probes": 2, "candidates": 20}], ids=str)
@pytest.mark.parametrize("size", [1, 5, 60, 600])
def test_hits_are_the_best_of_the_subset(searcher: Searcher, size: int, options: dict[str, object]) -> None:
    chosen = ids_of(np.random.default_rng(size).choice(DOCUMENTS, size, replace=False))
    subset = searcher.subset(chosen)
    assert len(subset) == size
    for seed in range(8):
        query = query_vectors(seed=seed)
        everything = [hit.id for hit in searcher.search(query, DOCUMENTS, exact=True)]
        wanted = [name for name in everything if name in set(chosen)][:10]
        hits = searcher.search(query, 10, subset=subset, **options)  # type: ignore[arg-type]
        found = [hit.id for hit in hits]
        assert set(found) <= set(chosen)
        assert len(found) == len(wanted), "k hits, or all documents of the subset that have vectors"
        if hits.exact:
            assert found == wanted
        elif "probes" not in options:
            assert len(set(found) & set(wanted)) >= 7, "of vectors without any structure, the hardest there are"


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
    ],
)
def test_what_chooses_nothing_is_refused(searcher: Searcher, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        searcher.subset(**arguments)  # type: ignore[arg-type]


def test_a_list_of_ids_is_not_yet_a_subset(searcher: Searcher) -> None:
    with pytest.raises(InputError, match=r"make one with Searcher\.subset"):
        searcher.search(query_vectors(), subset=["d001"])  # type: ignore[arg-type]


def test_a_subset_of_another_version_is_refused(index_path: Path, tmp_path: Path) -> None:
    values, offsets = random_embeddings(10, DIM, seed=5)
    with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=4, centroids=8) as writer:
        writer.add_vectors([f"d{number:03}" for number in range(10)], values, offsets)
    with Searcher.open(index_path) as one, Searcher.open(tmp_path / "index") as other:
        with pytest.raises(InputError, match=r"make it again with Searcher\.subset"):
            other.search(query_vectors(), subset=one.subset(["d001"]))


def test_recall_was_not_measured_within_a_subset(tmp_path: Path) -> None:
    values, offsets = random_embeddings(200, DIM, seed=6)
    with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=4, centroids=32) as writer:
        writer.add_vectors([f"d{number:03}" for number in range(200)], values, offsets)
    with Searcher.open(tmp_path / "index") as searcher:
        searcher.tune(recall=0.9, sample=20)
        subset = searcher.subset(ids_of(np.arange(150)))
        with pytest.raises(InputError, match="never measured with a subset"):
            searcher.search(query_vectors(), recall=0.9, subset=subset)
        assert searcher.search(query_vectors(), subset=subset, candidates=20).recall is None
        assert searcher.search(query_vectors(), recall=1.0, subset=subset).exact
