"""Token pooling: a document's vectors become fewer, a query's do not, and the index remembers the factor."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
modules = pytest.importorskip("sentence_transformers.multi_vector_encoder.modules", reason="needs jcb-engine[models]")

from jcb_engine import Document, IndexWriter, Searcher  # noqa: E402
from jcb_engine.encoder import Encoder  # noqa: E402
from jcb_engine.errors import MissingDependencyError  # noqa: E402

TEXTS = ["a red car is fast and a blue car is slow", "dates", "", "how to parse a date from a string of text"]


@pytest.mark.parametrize("factor", [2, 3.5])
def test_documents_are_pooled_as_sentence_transformers_does_it(mini: Encoder, factor: float) -> None:
    pooled = Encoder("mini", token_pooling=factor).encode_document(TEXTS)
    library = modules.HierarchicalTokenPooling(pool_factor=factor)
    for came, whole in zip(pooled, mini.encode_document(TEXTS), strict=True):
        # the first vector is kept, the others become one for each cluster
        assert len(came) == (1 + max(1, int((len(whole) - 1) // factor)) if len(whole) else 0)
        if len(whole):
            np.testing.assert_allclose(came, library.pool([torch.from_numpy(whole.copy())])[0].numpy(), atol=1e-6)
            np.testing.assert_allclose(np.linalg.norm(came, axis=1), 1, atol=1e-5)


def test_queries_are_not_pooled(mini: Encoder) -> None:
    query = ["how to parse a date"]
    np.testing.assert_array_equal(
        Encoder("mini", token_pooling=4).encode_query(query).values, mini.encode_query(query).values
    )


def test_several_dims_are_pooled_alike(mini: Encoder) -> None:
    pooled = Encoder("mini", token_pooling=2)
    np.testing.assert_array_equal(
        pooled.encode_document_dims(TEXTS, [64, 128])[128].values, pooled.encode_document(TEXTS).values
    )


def test_an_index_remembers_the_factor_and_takes_queries_of_any_encoder_but_that(mini: Encoder, tmp_path: Path) -> None:
    for name, encoder in (("whole", mini), ("pooled", Encoder("mini", token_pooling=2))):
        with IndexWriter.create(tmp_path / name, encoder=encoder) as writer:
            writer.add([Document(id=str(number), text=text) for number, text in enumerate(TEXTS)])
    searcher = Searcher.open(tmp_path / "pooled")
    assert searcher.encoder().record.token_pooling == 2
    assert Searcher.open(tmp_path / "whole").encoder().record.token_pooling is None
    expected = Encoder("mini", token_pooling=2).encode_document(TEXTS)
    assert searcher.info().tokens == len(expected.values) < len(mini.encode_document(TEXTS).values)
    assert [hit.id for hit in searcher.search("parse a date", k=1)] == ["3"]
    assert [hit.id for hit in Searcher.open(tmp_path / "pooled", encoder=mini).search("parse a date", k=1)] == ["3"]


def test_pooled_vectors_stand_for_no_single_token(mini: Encoder) -> None:
    assert Encoder("mini", token_pooling=2).document_tokens("a red car") is None
    assert mini.document_tokens("a red car") is not None


def test_searching_a_pooled_index_needs_no_clustering(mini: Encoder) -> None:
    record = Encoder("mini", token_pooling=2).record
    code = f"""
import sys
sys.modules["sentence_transformers"] = None
from jcb_engine.encoder import Encoder, EncoderRecord
encoder = Encoder.from_record(EncoderRecord.from_json({record.to_json()!r}))
assert len(encoder.encode_query(["a query"])[0]) == 4
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_library_building_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if "sentence" in name else find_spec(name, *rest)
    )
    with pytest.raises(MissingDependencyError, match=r"token_pooling needs the package .*jcb-engine\[models\]"):
        Encoder("mini", token_pooling=2)
