"""Numbers read well, and sizes that people write are understood."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.cli.numbers import bytes_text, count_text, parse_bytes, seconds_text
from jcb_engine.errors import InputError


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (999_499, "999 kB"),
        (999_999, "1.00 MB"),
        (1_234_567_890, "1.23 GB"),
        (5_600_000_000_000_000, "5,600 TB"),
    ],
)
def test_bytes_have_three_digits_and_a_unit(count: int, text: str) -> None:
    assert bytes_text(count) == text


@settings(deadline=None)
@given(st.integers(0, 10**16))
def test_bytes_are_off_by_half_a_percent_at_most(count: int) -> None:
    number, unit = bytes_text(count).replace(",", "").split()
    size = parse_bytes(number if unit == "bytes" else number + unit)
    assert abs(size - count) <= count * 0.005 + 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0032, "3.2 ms"),
        (0.85, "0.85 s"),
        (9.94, "9.9 s"),
        (41.7, "42 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3600, "1 h 00 min"),
        (4 * 3600 + 305, "4 h 05 min"),
    ],
)
def test_times_are_rounded_as_people_say_them(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_counts_have_separators_and_plurals() -> None:
    assert count_text(1, "document") == "1 document"
    assert count_text(1_234_567, "token") == "1,234,567 tokens"
    assert [count_text(count, "query", "queries") for count in (1, 2)] == ["1 query", "2 queries"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("512 MB", 512 * 10**6), ("1.5gib", 3 * 2**29), ("1000000", 10**6), (" 7k ", 7000)],
)
def test_sizes_are_understood(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "2 pounds", "-1GB", "1,5GB", "2GBs", "9" * 400, "9300000 TB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match="such as 2GB"):
        parse_bytes(text)
