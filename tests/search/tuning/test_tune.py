"""What a tuned index claims is what a comparison with exact search finds, and nothing is claimed beyond."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jcb_engine import Document, IndexWriter, Searcher
from jcb_engine.errors import IndexChangedError, IndexLockedError, InputError
from jcb_engine.kernels import Lists
from jcb_engine.kernels.reference import ReferenceBackend
from jcb_engine.search.plan import DEFAULT_CANDIDATES, DEFAULT_PROBES
from jcb_engine.search.stored_vectors import load_codec, segment_arrays
from jcb_engine.search.tuning.applied import AppliedTuning
from jcb_engine.search.tuning.choice import cheapest
from jcb_engine.search.tuning.queries import WINDOW
from jcb_engine.storage import Snapshot, Transaction, TuningCurve, verify
from tests.conftest import HashingEncoder, brute_force, random_embeddings
from tests.search.conftest import query_vectors

DOCUMENTS, DIM, K = 900, 32, 10
QUERIES = [query_vectors(12, seed) for seed in range(60)]


@pytest.fixture(scope="module")
def untuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("untuned") / "index"
    build(path)
    return path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TuningCurve]:
    """An index and the curve of 60 queries that was published in it."""
    path = tmp_path_factory.mktemp("tuned") / "index"
    build(path)
    with Searcher.open(path) as searcher:
        return path, searcher.tune(QUERIES, recall=0.9, k=K, query_source="sixty queries")


@pytest.fixture
def searcher(tuned: tuple[Path, TuningCurve]) -> Iterator[Searcher]:
    with Searcher.open(tuned[0]) as opened:
        yield opened


def build(path: Path, documents: int = DOCUMENTS, *, overwrite: bool = False) -> None:
    values, offsets = random_embeddings(documents, DIM, seed=11)
    with IndexWriter.create(path, dim=DIM, nbits=4, centroids=256, overwrite=overwrite) as writer:
        writer.add_vectors([f"d{number:03}" for number in range(documents)], values, offsets)


def ids(hits: object) -> set[str]:
    return {hit.id for hit in hits}  # type: ignore[attr-defined]


def test_every_point_of_the_curve_is_what_such_a_search_finds(
    tuned: tuple[Path, TuningCurve], searcher: Searcher
) -> None:
    curve = tuned[1]
    assert len(curve.points) > 5
    assert curve.points[-1].is_exact
    exact = [ids(searcher.search(query, k=K, exact=True)) for query in QUERIES]
    for point in curve.points[:-1]:
        if point.margin is None:
            found = [
                ids(searcher.search(query, k=K, probes=point.probes, candidates=point.documents)) for query in QUERIES
            ]
            share = np.mean([len(f & e) / K for f, e in zip(found, exact, strict=True)])
            assert point.recall == pytest.approx(share, abs=1e-9)


def test_points_with_a_stop_are_what_such_a_search_finds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jcb_engine.search.tuning.stops.SECOND_ROUND", 0)  # so that stops pay on so small an index
    build(tmp_path / "index", 600)
    with Searcher.open(tmp_path / "index") as searcher:
        curve = searcher.tune(QUERIES[:30], recall=0.9)
        with_stop = [point for point in curve.points if point.margin is not None]
        assert with_stop
        exact = [ids(searcher.search(query, K, exact=True)) for query in QUERIES[:30]]
        for point in with_stop:
            only = replace(curve, points=(point, curve.points[-1]))
            searcher._tuning = AppliedTuning((only,), curve.stage, curve.content)
            answers = searcher.search_batch(QUERIES[:30], K, recall=1e-9)
            shares = [len(ids(hits) & e) / K for hits, e in zip(answers, exact, strict=True)]
            assert {hits.recall for hits in answers} == {point.recall}
            assert point.recall == pytest.approx(np.mean(shares), abs=1e-9)


@pytest.mark.parametrize("recall", [0.3, 0.6, 0.8, 0.9, 0.93])
def test_a_search_for_a_recall_finds_what_it_says(
    tuned: tuple[Path, TuningCurve], searcher: Searcher, recall: float
) -> None:
    chosen = cheapest(tuned[1].points, recall)
    answers = searcher.search_batch(QUERIES, K, recall=recall)
    shares = []
    for query, hits in zip(QUERIES, answers, strict=True):
        assert hits.exact == chosen.is_exact
        assert hits.recall == (None if chosen.is_exact else chosen.recall)
        shares.append(len(ids(hits) & ids(searcher.search(query, K, exact=True))) / K)
    assert np.mean(shares) == pytest.approx(chosen.recall, abs=1e-9)
    assert np.mean(shares) >= recall


def test_a_recall_is_that_against_brute_force_over_the_stored_vectors(
    tuned: tuple[Path, TuningCurve], searcher: Searcher
) -> None:
    """Without the engine's own exact search: float64 MaxSim over vectors that the reference backend decodes."""
    path, curve = tuned
    with Snapshot.open(path) as snapshot:
        codec, backend = load_codec(snapshot), ReferenceBackend()
        store = backend.prepare(codec.arrays, [segment_arrays(segment) for segment in snapshot.segments])
        decoded = [backend.decode_document(store, number) for number in range(store.documents)]
    values, offsets = np.concatenate(decoded), np.cumsum([0, *map(len, decoded)])
    chosen = cheapest(curve.points, 0.8)
    shares = []
    for query in QUERIES:
        best = np.argsort(-brute_force(query @ codec.rotation, values, offsets))[:K]
        shares.append(len(ids(searcher.search(query, K, recall=0.8)) & {f"d{number:03}" for number in best}) / K)
    assert not chosen.is_exact
    assert np.mean(shares) == pytest.approx(chosen.recall, abs=0.002)  # a place may change where scores nearly tie


def test_costs_rise_and_so_do_recalls_of_those_that_were_not_passed_over(tuned: tuple[Path, TuningCurve]) -> None:
    points = tuned[1].points
    assert [point.cost for point in points] == sorted(point.cost for point in points)
    assert points[0].recall < points[-2].recall
    assert points[-1].cost == len(random_embeddings(DOCUMENTS, DIM, seed=11)[0]), "exact search scores every token"
    assert all(point.median_ms > 0 for point in points)


def test_the_same_queries_and_seed_give_the_same_curve_but_for_times(tmp_path: Path) -> None:
    curves = []
    for name in ("a", "b"):
        build(tmp_path / name, 300)
        with Searcher.open(tmp_path / name) as opened:
            curve = opened.tune(recall=0.9, sample=30, seed=4)
        curves.append(replace(curve, created="", points=tuple(replace(point, median_ms=0) for point in curve.points)))
    assert curves[0] == curves[1]


def test_the_record_says_what_was_measured(tuned: tuple[Path, TuningCurve]) -> None:
    path, curve = tuned
    with Snapshot.open(path) as snapshot:
        assert snapshot.version == 2
        assert snapshot.manifest.tuning == (curve,)
        assert curve.content == snapshot.manifest.content
    assert (curve.k, curve.queries, curve.version, curve.asked_recall) == (K, 60, 1, 0.9)
    assert (curve.query_source, curve.stage) == ("sixty queries", "centroids Flat")
    assert re.fullmatch(r".+, \d+ cores", curve.machine)
    assert verify(path).problems == []


def test_passages_stand_in_for_queries_and_the_record_says_so(tmp_path: Path) -> None:
    build(tmp_path / "index", 200)
    with Searcher.open(tmp_path / "index") as searcher:
        curve = searcher.tune(sample=40, seed=3)
    assert curve.query_source == f"40 passages of the index as queries ({WINDOW} tokens each), seed 3"


def test_a_passage_does_not_count_as_found_by_the_query_made_of_it(tmp_path: Path) -> None:
    """Each document is one word, the same for none: all that any query could find is itself, so nothing is promised."""
    values = np.eye(DIM, dtype=np.float32)
    with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=16, centroids=DIM) as writer:
        writer.add_vectors([f"d{number:02}" for number in range(DIM)], values, np.arange(DIM + 1))
    with Searcher.open(tmp_path / "index") as searcher:
        curve = searcher.tune(k=1, recall=0.9)
        assert all(point.recall < 0.9 for point in curve.points[:-1] if point.documents == 2 and point.probes == 1)


def test_the_default_settings_carry_their_recall_where_it_was_measured(
    tuned: tuple[Path, TuningCurve], searcher: Searcher, untuned: Path
) -> None:
    (default,) = [
        point
        for point in tuned[1].points
        if (point.probes, point.documents) == (DEFAULT_PROBES, DEFAULT_CANDIDATES) and not point.margin
    ]
    assert searcher.search(QUERIES[0], K).recall == default.recall
    assert searcher.search(QUERIES[0], K, probes=15).recall is None
    assert searcher.search(QUERIES[0], K + 1).recall is None
    assert searcher.search(QUERIES[0], K, by="parent").recall is None
    assert searcher.search(QUERIES[0], K, exact=True).recall is None
    with Searcher.open(untuned) as other:
        assert other.search(QUERIES[0], K).recall is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"recall": 0.9, "k": 5},
            r"recall=0.9 with k=5 cannot be promised: only k=10 was measured; run `jcb-index tune",
        ),
        ({"recall": 0.9, "by": "parent"}, "never measured with by='parent'"),
        ({"recall": 0.9, "exact": True}, "recall chooses the settings"),
        ({"recall": 0.9, "probes": 4}, "recall chooses the settings"),
        ({"recall": 0.9, "candidates": 4}, "recall chooses the settings"),
        ({"recall": 0}, "recall is 0; it must be a number above 0"),
        ({"recall": 1.1}, "recall is 1.1"),
        ({"recall": float("nan")}, "recall is nan"),
        ({"recall": True}, "recall is True"),
        ({"recall": "0.9"}, "recall is '0.9'"),
    ],
)
def test_what_cannot_be_promised_is_refused(searcher: Searcher, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        searcher.search(QUERIES[0], **{"k": K, **options})  # type: ignore[arg-type]


def test_a_recall_of_one_is_exact_search_tuned_or_not(untuned: Path, searcher: Searcher) -> None:
    with Searcher.open(untuned) as other:
        assert other.search(QUERIES[0], recall=1.0).exact
        assert other.search(QUERIES[0], by="parent", recall=1).exact
        with pytest.raises(
            InputError, match=r"this index is not tuned; run `jcb-index tune INDEX --k 10 --recall 0.99`"
        ):
            other.search(QUERIES[0], recall=0.99)
    assert searcher.search(QUERIES[0], k=3, recall=1.0).exact


def test_a_recall_that_nothing_is_sure_to_reach_is_exact_search(searcher: Searcher) -> None:
    assert searcher.search(QUERIES[0], K, recall=0.9999).exact


def test_another_content_makes_the_curve_stale_and_the_old_content_renews_it(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build(path, 300)
    with Searcher.open(path) as first:
        curve = first.tune(QUERIES[:20], recall=0.8)
        build(path, 299, overwrite=True)
        assert first.search(QUERIES[0], recall=0.5).recall is not None, "its snapshot is what was measured"
        with Searcher.open(path) as second:
            with pytest.raises(InputError, match="the index has changed since it was tuned, on version 1; run"):
                second.search(QUERIES[0], recall=0.5)
            assert second.search(QUERIES[0]).recall is None
            (info,) = second.info().tuning
            assert (info.is_current, info.curve) == (False, curve)
    build(path, 300, overwrite=True)
    with Searcher.open(path) as third:
        assert third.version == 4
        assert third.search(QUERIES[0], recall=0.5).recall is not None, "equal bytes: what was measured holds again"


def test_curves_of_several_k_live_side_by_side_and_a_new_one_replaces_its_own(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build(path, 300)
    with Searcher.open(path) as searcher:
        for k in (5, 10, 5):
            searcher.tune(QUERIES[:20], recall=0.8, k=k)
            assert searcher.search(QUERIES[0], k=k, recall=0.5).recall is not None
        assert searcher.version == 1
    with Snapshot.open(path) as snapshot:
        assert snapshot.version == 4
        assert [curve.k for curve in snapshot.manifest.tuning] == [5, 10]


def test_deleted_documents_count_neither_as_wanted_nor_as_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index"
    build(path, 300)
    mask = np.packbits(np.arange(300) % 2 == 0, bitorder="little")
    monkeypatch.setattr("jcb_engine.search.subset.deleted_mask", lambda segments: mask)
    with Searcher.open(path) as searcher:
        curve = searcher.tune(QUERIES[:20], recall=0.8)
        _, offsets = random_embeddings(300, DIM, seed=11)
        assert curve.points[-1].cost == np.diff(offsets)[::2].sum()
        for query in QUERIES[:20]:
            assert all(int(hit.id[1:]) % 2 == 0 for hit in searcher.search(query, recall=0.8))
        assert cheapest(curve.points, 0.8).recall >= 0.8


def test_a_writer_is_waited_for_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index"
    build(path, 100)
    with Searcher.open(path) as searcher:
        with Transaction.begin(path, overwrite=True):
            with pytest.raises(IndexLockedError, match=f"process {os.getpid()}"):
                searcher.tune(QUERIES[:3], tell=lambda step: pytest.fail("measured although nothing can be published"))

        def commit_meanwhile(step: str) -> None:
            if step == "times":  # a writer commits while measuring goes on: it is not held up
                build(path, 99, overwrite=True)

        with pytest.raises(IndexChangedError, match="version 1 was opened to be tuned, version 2 holds something else"):
            searcher.tune(QUERIES[:3], tell=commit_meanwhile)
        with pytest.raises(IndexChangedError):
            searcher.tune(QUERIES[:3], tell=lambda step: pytest.fail("measured although it is old"))
    with Snapshot.open(path) as snapshot:
        assert (snapshot.version, snapshot.manifest.tuning) == (2, ())


class EveryThird:
    """A way of finding candidates without probes, whose pools are not nested: every third document from a start."""

    name = "every third"

    def find(self, queries, query_offsets, table, settings, mask):  # type: ignore[no-untyped-def]
        count = len(query_offsets) - 1
        one = (np.arange(settings.documents % 3, 300, 3, dtype=np.uint32))[: settings.pool]
        return Lists(np.tile(one, count), np.arange(count + 1, dtype=np.int64) * len(one))


def test_any_way_of_finding_candidates_can_be_tuned_and_its_curves_are_its_own(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build(path, 300)
    with Searcher.open(path) as searcher:
        searcher._cascade.stage = EveryThird()
        searcher._tuning = AppliedTuning((), "every third", searcher._snapshot.manifest.content)
        curve = searcher.tune(QUERIES[:20], recall=0.8)
        assert curve.stage == "every third"
        assert {point.probes for point in curve.points} == {None}
        exact = [ids(searcher.search(query, exact=True)) for query in QUERIES[:20]]
        for point in curve.points[:-1]:
            if point.margin is None:
                found = [ids(searcher.search(query, candidates=point.documents)) for query in QUERIES[:20]]
                shares = [len(f & e) / K for f, e in zip(found, exact, strict=True)]
                assert point.recall == pytest.approx(np.mean(shares), abs=1e-9)
    with Searcher.open(path) as other:
        with pytest.raises(InputError, match="not tuned"):
            other.search(QUERIES[0], recall=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queries": []}, "at least one"),
        ({"queries": "text"}, "takes a list of queries"),
        ({"queries": [np.zeros((2, 7), np.float32)]}, "this index takes"),
        ({"queries": ["a text"]}, "names no encoder"),
        ({"recall": 0}, "recall is 0"),
        ({"k": 0}, "k is 0"),
        ({"sample": 0}, "sample is 0"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_what_cannot_be_tuned_is_refused_and_nothing_is_published(
    untuned: Path, arguments: dict[str, object], message: str
) -> None:
    with Searcher.open(untuned) as searcher, pytest.raises(InputError, match=message):
        searcher.tune(**arguments)  # type: ignore[arg-type]
    with Snapshot.open(untuned) as snapshot:
        assert snapshot.version == 1


@pytest.mark.parametrize("nbits", [1, 16])
def test_other_widths_are_tuned_too(tmp_path: Path, nbits: int) -> None:
    values, offsets = random_embeddings(400, DIM, seed=2)
    with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=nbits, centroids=64) as writer:
        writer.add_vectors([str(number) for number in range(400)], values, offsets)
    with Searcher.open(tmp_path / "index") as searcher:
        curve = searcher.tune(sample=30, recall=0.8)
        assert len(curve.points) > 2
        assert nbits < 16 or all(point.margin is None for point in curve.points), "raw tokens have no centroids"


def test_an_index_of_a_handful_of_texts_can_be_tuned(tmp_path: Path) -> None:
    with IndexWriter.create(tmp_path / "index", encoder=HashingEncoder()) as writer:
        writer.add([Document(id="a", text="one two"), Document(id="b", text="two three"), Document(id="c", text="")])
    with Searcher.open(tmp_path / "index", encoder=HashingEncoder()) as searcher:
        assert len(searcher.tune(["two"]).points) == 1
        assert len(searcher.tune().points) == 1
        assert searcher.search("two", recall=0.99).exact


def test_where_everything_is_deleted_there_is_nothing_to_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "index", 20)
    monkeypatch.setattr("jcb_engine.search.subset.deleted_mask", lambda segments: np.zeros(3, np.uint8))
    with Searcher.open(tmp_path / "index") as searcher:
        for queries in (None, QUERIES[:2]):
            with pytest.raises(InputError, match="nothing to tune"):
                searcher.tune(queries)
