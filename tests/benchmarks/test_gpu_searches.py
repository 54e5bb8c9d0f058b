"""What whole searches on a GPU are expected to take, from rates that are written out here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.gpu import searches

RATES = searches.Rates(one=50.0, many=60.0, memory=4e12, l2=5e12)


def test_a_scan_takes_its_tokens_its_launches_and_its_exact_scores() -> None:
    found = searches.scan(RATES)
    rescored = 400 * 130 * 32 * 128 * 2 / 20e12
    launches = 11 * (1.3e-6 + 0.6e-6) + 2 * 2e-6
    assert found["seconds_1_query"] == pytest.approx(10e6 / 50e9 + launches + rescored)
    assert 64 / found["queries_per_second_64"] == pytest.approx(64 * 10e6 / 60e9 + launches + 64 * rescored)


def test_a_search_among_candidates_is_bounded_by_its_work_and_takes_its_waits_besides() -> None:
    found = searches.probe(RATES)
    assert found["seconds_bound"] == pytest.approx(sum(found["work"].values()))
    assert found["seconds_with_waits"] == pytest.approx(sum(found["work"].values()) + sum(found["waits"].values()))
    assert found["work"]["fast_scores"] == pytest.approx(4096 * 130 / 50e9)
    assert found["work"]["narrowing"] == pytest.approx(10240 * 130 * 1.06 * (8 / 4e12 + 32 / 5e12))
    slower = searches.probe(replace(RATES, one=25.0))
    assert slower["seconds_bound"] - found["seconds_bound"] == pytest.approx(4096 * 130 / 50e9)


def test_candidates_in_host_memory_take_what_their_bytes_take_over_the_bus() -> None:
    assert searches.candidates_in_host_memory() == pytest.approx(4096 * 130 * 1.06 * 40 / 50e9)
