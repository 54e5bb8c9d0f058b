"""Indexes of peers are found again only where they fit, all their bytes count, and rounds ask every query."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import rounds
from benchmarks.peers.engines import OWN, Engine, Search, centroid_count, engines
from benchmarks.peers.indexes import BuiltIndex, built_index, driver_environment, folder_bytes, index_key
from benchmarks.peers.material import exchanged
from benchmarks.peers.rounds import Measured, Worker, asked_in_round, run_rounds
from jcb_engine import RaggedEmbeddings

PEER = Engine("peer", 4, "1.0", "peer_driver.py", (Search("default"),))

# A driver over the real protocol, with the nearest document by its only token as its search.
DRIVER = """
import sys
sys.path.insert(0, DRIVERS)
import protocol

class Opened:
    def __init__(self, job):
        self.documents = [document[0] for document in protocol.vectors(job.documents)]
        self.k = job.k
    def prepare(self, query):
        return query
    def search(self, query, parameters):
        print("chatter of a library")
        order = sorted(range(len(self.documents)), key=lambda n: -float(self.documents[n] @ query[0]))
        return order[: parameters.get("k", self.k)]
    def ids(self, answer):
        return answer

protocol.main(lambda job: 7, Opened)
"""


@pytest.mark.parametrize(
    "other",
    [
        index_key("other vectors", PEER, 64, 0),
        index_key("vectors", replace(PEER, nbits=2), 64, 0),
        index_key("vectors", replace(PEER, version="1.1"), 64, 0),
        index_key("vectors", replace(PEER, name="another"), 64, 0),
        index_key("vectors", PEER, 128, 0),
        index_key("vectors", PEER, 64, 1),
    ],
)
def test_an_index_of_other_vectors_or_settings_is_another(other: str) -> None:
    assert index_key("vectors", PEER, 64, 0) != other


def test_what_is_searched_does_not_change_which_index_it_is() -> None:
    assert index_key("vectors", PEER, 64, 0) == index_key("vectors", replace(PEER, searches=()), 64, 0)


def test_an_index_that_was_not_finished_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    assert built_index(tmp_path, PEER) is None
    (tmp_path / "build.json").write_text(json.dumps({"seconds": 1.0}))
    assert built_index(tmp_path, PEER) == BuiltIndex(PEER, tmp_path / "index", {"seconds": 1.0})


def test_all_files_of_an_index_are_counted_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.npy").write_bytes(b"x" * 100)
    (tmp_path / "deep" / "er" / "b.lock").write_bytes(b"x" * 23)
    (tmp_path / "link").symlink_to(tmp_path / "a.npy")
    assert folder_bytes(tmp_path) == 123


def test_vectors_are_exchanged_as_they_are_and_named_by_their_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.peers.material.VECTORS", tmp_path)
    values = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    folder = exchanged(RaggedEmbeddings(values, np.array([0, 2, 6])))
    np.testing.assert_array_equal(np.load(folder / "values.npy"), values)
    np.testing.assert_array_equal(np.load(folder / "offsets.npy"), [0, 2, 6])
    assert exchanged(RaggedEmbeddings(values, np.array([0, 2, 6]))) == folder
    assert exchanged(RaggedEmbeddings(values, np.array([0, 3, 6]))) != folder
    assert exchanged(RaggedEmbeddings(-values, np.array([0, 2, 6]))) != folder


def test_the_number_of_centroids_is_the_rule_that_the_peers_share() -> None:
    assert centroid_count(1_242_251) == 16_384
    assert centroid_count(1_040_000) == 8_192


def test_equal_bits_and_the_settings_of_the_comparison_are_there() -> None:
    labels = {engine.label: engine for engine in engines()}
    for peer in ("fast-plaid", "xtr-warp-rs"):
        assert {f"{peer}-2bits", f"{peer}-4bits"} <= set(labels)
    assert {f"{OWN}-{nbits}bits" for nbits in (1, 2, 4)} <= set(labels)
    fixed = {tuple(search.parameters.items()) for search in labels["fast-plaid-4bits"].searches}
    assert fixed == {(("n_ivf_probe", 4), ("n_full_scores", 256)), ()}
    fixed = {tuple(search.parameters.items()) for search in labels["xtr-warp-rs-4bits"].searches}
    assert fixed == {(("nprobe", 64), ("bound", 256)), ()}


def test_a_quick_search_is_asked_everything_in_every_round_a_slow_one_everything_once() -> None:
    assert [asked_in_round(Search("quick"), 5, 3, number, 0) for number in range(3)] == [[0, 1, 2, 3, 4]] * 3
    parts = [asked_in_round(Search("slow", most_queries=10), 10, 3, number, 0) for number in range(3)]
    assert sorted(query for part in parts for query in part) == list(range(10))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    few = [asked_in_round(Search("slower", most_queries=4), 10, 3, number, 0) for number in range(3)]
    assert len({query for part in few for query in part}) == 4


def test_every_thread_pool_gets_the_same_number_and_only_ours_sees_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    peer = driver_environment(PEER, 2)
    assert {peer[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "OPENBLAS", "RAYON")} == {"2"}
    assert peer["JCB_THREADS"] == "2"
    assert "PYTHONPATH" not in peer
    own = driver_environment(replace(PEER, name=OWN), 2)
    assert (Path(own["PYTHONPATH"]) / "jcb_engine").is_dir()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Four documents of one token each, and three of them as queries; the driver above stands for a peer."""
    monkeypatch.setattr("benchmarks.peers.material.VECTORS", tmp_path / "vectors")
    driver = tmp_path / "driver.py"
    drivers = Path(rounds.__file__).parent / "drivers"
    driver.write_text(DRIVER.replace("DRIVERS", repr(str(drivers))))
    monkeypatch.setattr(Engine, "command", lambda self: [sys.executable, str(driver)])
    values = np.eye(4, dtype=np.float32)
    return {
        "documents": str(exchanged(RaggedEmbeddings(values, np.arange(5)))),
        "queries": str(exchanged(RaggedEmbeddings(values[:3], np.arange(4)))),
        "index": "", "nbits": 4, "centroids": 1, "seed": 0, "threads": 1, "k": 2,
        "searches": {"default": {}, "one": {"k": 1}},
    }  # fmt: skip


def test_a_driver_answers_in_rounds_whatever_its_library_prints(job: dict[str, object], tmp_path: Path) -> None:
    engine = replace(PEER, searches=(Search("default"), Search("one", {"k": 1}, most_queries=3)))
    worker = Worker(BuiltIndex(engine, tmp_path, {}), job, tmp_path)
    try:
        measured = run_rounds([worker], 3, 2, 0)
    finally:
        worker.close()
    assert measured["peer-4bits", "one"].answers == {0: [0], 1: [1], 2: [2]}
    everything = measured["peer-4bits", "default"]
    assert {query: ids[0] for query, ids in everything.answers.items()} == {0: 0, 1: 1, 2: 2}
    assert {query: len(seconds) for query, seconds in everything.seconds.items()} == {0: 2, 1: 2, 2: 2}
    assert all(second > 0 for seconds in everything.seconds.values() for second in seconds)
    assert "chatter of a library" in (tmp_path / "peer-4bits.log").read_text()


def test_a_driver_that_stops_is_named_with_its_last_words(job: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"peer-4bits stopped: .*FileNotFoundError"):
        Worker(BuiltIndex(PEER, tmp_path, {}), {**job, "documents": str(tmp_path / "nowhere")}, tmp_path)


def test_an_answer_that_changes_between_rounds_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    measured = Measured()
    measured.add([3], [[1, 2]], [0.1])
    measured.add([3], [[2, 1]], [0.2])
    assert measured.seconds == {3: [0.1, 0.2]}
    assert "query 3 got another answer" in capsys.readouterr().out
