"""A stream is encoded in windows: in its order, each text once, and never far ahead."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jcb_engine.encoder import Encoder, windows
from jcb_engine.errors import InputError


@given(st.lists(st.text(max_size=30)), st.integers(1, 40), st.integers(1, 5))
def test_windows_hold_every_text_once_in_order_within_bounds(texts: list[str], characters: int, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "WINDOW_CHARACTERS", characters)
        patch.setattr(windows, "WINDOW_TEXTS", count)
        lists = list(windows.windows(texts, len))
    assert [text for window in lists for text in window] == texts
    for window in lists:
        assert 1 <= len(window) <= count
        assert len(window) == 1 or sum(map(len, window)) <= characters


def test_a_stream_gives_the_vectors_of_a_list_without_being_read_to_its_end(
    mini: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "WINDOW_TEXTS", 3)
    texts = ["one", "two words", "", "and three words", "a", "b c d e f", "last"]
    read = []

    def stream() -> Iterator[str]:
        for text in texts:
            read.append(text)
            yield text

    vectors = mini.stream_documents(stream())
    first = next(vectors)
    assert len(read) == 4  # a window, and the text that did not fit
    for came, expected in zip([first, *vectors], mini.encode_document(texts), strict=True):
        np.testing.assert_allclose(came, expected, atol=1e-5)


def test_what_is_no_text_is_told(mini: Encoder) -> None:
    with pytest.raises(InputError, match="text 1 is a int"):
        list(mini.stream_documents(["a", 3]))  # type: ignore[list-item]
    with pytest.raises(InputError, match="one text came"):
        list(mini.stream_documents("a text"))
