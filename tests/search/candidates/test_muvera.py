"""Searching by MUVERA's encodings finds what exact search finds, and masks inside the stage lose no hit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from jcb_engine import IndexWriter, Searcher
from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.indexing import MuveraOptions
from jcb_engine.kernels import select
from jcb_engine.search.candidates import CandidateSettings
from jcb_engine.search.candidates.muvera import MuveraStage
from jcb_engine.storage import Snapshot, verify
from tests.search.conftest import DIM, DOCUMENTS, query_vectors

IDS = [f"d{number:03}" for number in range(DOCUMENTS)]


def built(path: Path, corpus: tuple, **options: object) -> Path:
    with IndexWriter.create(path, dim=DIM, centroids=256, muvera=MuveraOptions(**options)) as writer:
        writer.add_vectors(IDS, *corpus)
    return path


@pytest.fixture(scope="module")
def muvera_path(corpus: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("muvera") / "index", corpus)


def test_it_finds_what_exact_search_finds_and_claims_nothing(muvera_path: Path) -> None:
    with Searcher.open(muvera_path) as searcher:
        found = []
        for seed in range(20):
            hits = searcher.search(query_vectors(12, seed))
            assert not hits.exact
            assert hits.recall is None, "nothing has measured it"
            found.append(
                len({h.id for h in searcher.search(query_vectors(12, seed), exact=True)} & {h.id for h in hits})
            )
    assert np.mean(found) / 10 > 0.9


@pytest.mark.parametrize("factory", ["IVF8,Flat", "HNSW16", "SQ8", "PCA64,Flat"])
def test_the_index_over_the_encodings_follows_its_factory(tmp_path: Path, corpus: tuple, factory: str) -> None:
    with Searcher.open(built(tmp_path / "index", corpus, factory=factory, projection_dim=4)) as searcher:
        assert (searcher.info().muvera or {}).get("factory") == factory
        assert len(searcher.search(query_vectors(), k=DOCUMENTS // 4)) == DOCUMENTS // 4


@pytest.mark.parametrize("seed", range(5))
def test_what_a_mask_forbids_takes_no_place_of_the_pool(muvera_path: Path, corpus: tuple, seed: int) -> None:
    random = np.random.default_rng(seed)
    allowed = random.random(DOCUMENTS) < 0.2
    mask = np.packbits(allowed, bitorder="little")
    with Searcher.open(muvera_path) as searcher:
        query = searcher._codec.rotate(query_vectors(9, seed), searcher._backend)
        offsets = np.array([0, 9], np.int64)
        table = searcher._backend.centroid_scores(searcher._store, query)
        wide = searcher._cascade.stage.find(query, offsets, table, CandidateSettings(1, DOCUMENTS), None).documents
        found = searcher._cascade.stage.find(query, offsets, table, CandidateSettings(1, 20), mask).documents
    filled = np.diff(corpus[1]) > 0
    assert set(wide) == set(np.flatnonzero(filled)), "a document without vectors is never a candidate"
    assert list(found) == [document for document in wide if allowed[document]][:50]


def test_the_same_input_gives_the_same_bytes_which_verify_reads(tmp_path: Path, corpus: tuple) -> None:
    names = []
    for name in ("one", "two"):
        path = built(tmp_path / name, corpus, final_dim=100)
        assert verify(path).problems == []
        names.append(sorted(entry.name for entry in (path / "segments").iterdir()))
        with Searcher.open(path) as searcher:
            assert searcher.info().bytes["encodings"] == DOCUMENTS * 200 + -(DOCUMENTS * 200) % 64 + 64
    assert names[0] == names[1]


def test_threads_that_search_first_build_one_index(muvera_path: Path) -> None:
    with Searcher.open(muvera_path) as searcher, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: searcher.search(query_vectors()), range(8)))
    assert len({tuple(hit.id for hit in hits) for hits in answers}) == 1


def test_what_cannot_be_is_said(muvera_path: Path, index_path: Path, tmp_path: Path, corpus: tuple) -> None:
    with pytest.raises(InputError, match="holds no MUVERA encodings"):
        Searcher.open(index_path, first_stage="muvera")
    with pytest.raises(InputError, match=re.escape("first_stage is 'other'")):
        Searcher.open(index_path, first_stage="other")
    with Searcher.open(muvera_path) as searcher, pytest.raises(InputError, match="probes are of centroids"):
        searcher.search(query_vectors(), probes=4)
    with Searcher.open(muvera_path, first_stage="centroids") as searcher:
        assert len(searcher.search(query_vectors(), probes=4)) == 10
    with pytest.raises(InputError, match="cannot build 'IVF2000,Flat'"):
        built(tmp_path / "index", corpus, factory="IVF2000,Flat", projection_dim=1)
    assert not list((tmp_path / "index").glob("manifest.*"))


@pytest.mark.parametrize(
    "change",
    [
        {"dim": DIM + 1},
        {"repetitions": 10**9},
        {"repetitions": 0},
        {"simhash_bits": -1},
        {"projection_dim": "8"},
        {"factory": 5},
        {"seed": -1},
        {"final_dim": 7},
    ],
)
def test_a_manifest_that_describes_other_encodings_is_corrupt(muvera_path: Path, change: dict[str, object]) -> None:
    with Snapshot.open(muvera_path) as snapshot:
        settings = snapshot.manifest.settings["muvera"]
        assert isinstance(settings, Mapping)
        MuveraStage(select(), snapshot.segments, dict(settings), DIM)
        with pytest.raises(CorruptIndexError):
            MuveraStage(select(), snapshot.segments, {**settings, **change}, DIM)
