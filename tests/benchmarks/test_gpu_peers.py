"""Other projects' kernels in benchmarks/gpu: what is measured of them, with a stand-in on the processor."""

from __future__ import annotations

import pytest

from benchmarks.gpu import peers
from benchmarks.gpu.skipping import SkippedError
from benchmarks.gpu.store import expected_score, random_queries, random_segment


@pytest.mark.parametrize("off", [0.0, 0.5])
def test_the_largest_error_of_scores_stands_beside_the_speed(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(peers, "version", lambda project: f"{project} 1.0")
    codec, segment = random_segment(2_000, 16)
    documents = range(len(segment.doc_offsets) - 1)
    exact = [expected_score(codec, segment, document, random_queries(1)[0]) for document in documents]
    scores = torch.tensor(exact)[None] + off
    found = peers._rated("stand-in", codec, segment, lambda call: [0.5, 2.0, 0.1], lambda: scores)
    assert found["score_error"] == pytest.approx(off, abs=1e-5)
    assert found["gtokens_per_second_times_queries"] == pytest.approx(len(segment.codes) / 0.5 / 1e9)
    assert found["version"] == "stand-in 1.0"


def test_a_peer_that_is_not_installed_is_named() -> None:
    with pytest.raises(SkippedError, match="no-such-peer cannot be imported"):
        peers._imported("no-such-peer", "no_such_peer")
