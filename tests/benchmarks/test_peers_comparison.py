"""What the comparison with the peers says follows from the answers and times alone; no peer is needed."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.comparison import Setting, against, cheapest_at, pareto, recall_of, row


def setting(
    name: str, recalls: list[float], milliseconds: list[float], nbits: int = 2, engine: str = "ours"
) -> Setting:
    """Query i has recalls[i] and was asked once, or as often as there are times for it."""
    seconds = {query: [value / 1e3] for query, value in enumerate(milliseconds)}
    return Setting(engine, nbits, name, dict(enumerate(recalls)), seconds)


def test_recall_is_the_share_of_the_wanted_and_doubles_gain_nothing() -> None:
    assert recall_of([1, 2, 9, 8], [1, 2, 3, 4]) == 0.5
    assert recall_of([1, 1, 1, 1], [1, 2, 3, 4]) == 0.25
    assert recall_of([], [1, 2]) == 0.0


def test_the_cheapest_setting_reaches_the_recall_on_the_queries_named() -> None:
    quick = setting("quick", [1.0, 0.5, 0.5], [1, 1, 1])
    good = setting("good", [0.9, 0.9, 0.9], [2, 2, 2])
    slow = setting("slow", [1.0, 1.0, 1.0], [9, 9, 9])
    settings = [slow, good, quick]
    assert cheapest_at(0.8, settings, [0, 1, 2]) is good
    assert cheapest_at(0.95, settings, [0, 1, 2]) is slow
    assert cheapest_at(0.95, settings, [0]) is quick  # on the first query alone it is enough
    assert cheapest_at(0.9, settings, [0, 1, 2]) is good  # equal recall reaches it


def test_a_recall_that_none_reaches_has_no_cheapest_setting() -> None:
    assert cheapest_at(0.99, [setting("good", [0.9], [2])], [0]) is None


def test_a_peer_is_compared_on_the_queries_it_answered_at_its_bits_and_at_any() -> None:
    peer = Setting("peer", 4, "default", {1: 0.8, 2: 0.8}, {1: [0.1], 2: [0.3]})
    two_bits = setting("a", [0.0, 0.9, 0.9], [50, 1, 3])
    four_bits = setting("b", [0.0, 0.8, 0.8], [50, 4, 4], nbits=4)
    compared = against(peer, [two_bits, four_bits])
    assert compared["queries"] == 2
    assert compared["median_seconds"] == pytest.approx(0.2)
    assert compared["ours_at_equal_bits"]["search"] == "b"
    assert compared["ours_at_equal_bits"]["times_faster"] == pytest.approx(0.2 / 0.004)
    assert compared["ours_at_any_bits"]["search"] == "a"  # the first query, slow and missed, was not the peer's
    assert compared["ours_at_any_bits"]["times_faster"] == pytest.approx(0.2 / 0.002)


def test_a_peer_whose_recall_ours_does_not_reach_gets_no_ratio() -> None:
    peer = setting("default", [1.0], [5], nbits=4, engine="peer")
    compared = against(peer, [setting("a", [0.9], [1], nbits=4)])
    assert compared["ours_at_equal_bits"] is None
    assert compared["ours_at_any_bits"] is None


def test_a_row_has_the_median_over_all_times_of_all_queries() -> None:
    measured = Setting("peer", 4, "default", {0: 1.0, 1: 0.5}, {0: [1.0, 2.0, 3.0], 1: [10.0, 20.0, 30.0]})
    written = json.loads(json.dumps(row(measured, 0.7)))
    assert written["recall_at_10"] == 0.75
    assert written["queries"] == 2
    assert written["seconds"]["median"] == np.median([1, 2, 3, 10, 20, 30])
    assert written["seconds"]["runs"] == 6


def test_the_front_holds_what_no_other_setting_beats() -> None:
    points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.9), (2.0, 0.8), (4.0, 0.85), (5.0, 0.95)]
    assert pareto(points) == [(1.0, 0.5), (2.0, 0.9), (5.0, 0.95)]
    assert pareto([]) == []


def test_the_plot_is_drawn_from_a_result_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.peers import plot

    rows = [
        row(setting("a", [0.9], [2], engine=plot.OWN), None),
        row(setting("b", [0.5], [20], engine="fast-plaid"), None),
    ]
    settings = {"collection": "x", "documents": 1, "tokens": 2, "query_tokens_mean": 3.0, "centroids": 4, "threads": 2}
    result = tmp_path / "peers-x.json"
    result.write_text(json.dumps({"settings": settings, "figures": {"rows": rows}}))
    monkeypatch.setattr(plot, "RESULTS", tmp_path)
    assert plot.draw(result).read_bytes().startswith(b"\x89PNG")
