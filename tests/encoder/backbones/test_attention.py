"""Attention over packed texts is softmax(q k^T) v within each text, whatever runs, masks, biases and kernels."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402

from jcb_engine.encoder.backbones import attention  # noqa: E402
from jcb_engine.encoder.backbones.alibi import AlibiBias, slopes  # noqa: E402
from jcb_engine.encoder.backbones.attention import attend  # noqa: E402
from jcb_engine.encoder.backbones.packing import Packed  # noqa: E402
from jcb_engine.errors import MissingDependencyError  # noqa: E402

HEADS, SIZE = 3, 8


def drawn(tokens: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(tokens, HEADS, SIZE, generator=generator) for _ in range(3))
    return query, key, value


def expected(query: Tensor, key: Tensor, value: Tensor, packed: Packed, scale: float, slope: list[float]) -> Tensor:
    """Text by text and head by head, in float64."""
    outputs, start = [], 0
    for length, attended in zip(packed.lengths, packed.attended, strict=True):
        rows = slice(start, start + length)
        heads = []
        for head in range(HEADS):
            q, k, v = (part[rows, head].double() for part in (query, key, value))
            distances = (torch.arange(length)[:, None] - torch.arange(length)[None, :]).abs()
            products = q @ k.T * scale - slope[head] * distances
            products[:, attended:] = -math.inf
            heads.append(torch.softmax(products, dim=1) @ v)
        outputs.append(torch.stack(heads, dim=1))
        start += length
    return torch.cat(outputs).float()


texts = st.lists(
    st.integers(1, 9).flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length))), min_size=1
)


@settings(deadline=None)
@given(texts, st.booleans(), st.sampled_from([None, 0.25]))
def test_attention_stays_within_each_text_and_its_attended_tokens(
    pairs: list[tuple[int, int]], biased: bool, scale: float | None
) -> None:
    lengths, attended = zip(*pairs, strict=True)
    packed = Packed(torch.zeros(sum(lengths), dtype=torch.int64), lengths, attended)
    query, key, value = drawn(sum(lengths))
    bias = AlibiBias(HEADS, torch.device("cpu")) if biased else None
    came = attend(query, key, value, packed, scale=scale, bias=bias)
    slope = slopes(HEADS) if biased else [0.0] * HEADS
    wanted = expected(query, key, value, packed, scale or SIZE**-0.5, slope)
    torch.testing.assert_close(came, wanted, atol=1e-5, rtol=1e-4)


def test_a_bias_is_made_in_blocks_and_changes_nothing_by_that(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = Packed(torch.zeros(47, dtype=torch.int64), (23, 23, 1), (23, 20, 1))
    query, key, value = drawn(47)
    bias = AlibiBias(HEADS, torch.device("cpu"))
    rows = []
    whole = attend(query, key, value, packed, bias=bias)
    monkeypatch.setattr(attention, "_BIAS_ROWS", 5)
    blocked = attend(query, key, value, packed, bias=lambda length, part: rows.append(len(part)) or bias(length, part))
    assert max(rows) == 5
    torch.testing.assert_close(blocked, whole, atol=1e-6, rtol=1e-5)


def test_slopes_are_those_of_the_paper() -> None:
    assert slopes(8) == pytest.approx([2.0**-power for power in range(1, 9)])
    # between powers of two: the series of 8, then every other one of the series of 16
    assert slopes(12) == pytest.approx([*slopes(8), *(2.0 ** (-power / 2) for power in (1, 3, 5, 7))])


# -- the kernel that takes all texts at once, which runs on CUDA alone -------------------------------------------------
def variable_length_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_offsets: Tensor,
    key_offsets: Tensor,
    longest_query: int,
    longest_key: int,
    scale: float | None,
) -> Tensor:
    """What flash attention's variable-length kernels are documented to compute, one text after the other."""
    assert query_offsets.dtype == key_offsets.dtype == torch.int32
    assert all(part.is_contiguous() for part in (query, key, value))
    assert longest_query == int(query_offsets.diff().max())
    assert longest_key == int(key_offsets.diff().max())
    outputs = []
    for text in range(len(query_offsets) - 1):
        rows = slice(int(query_offsets[text]), int(query_offsets[text + 1]))
        columns = slice(int(key_offsets[text]), int(key_offsets[text + 1]))
        products = torch.einsum("qhd,khd->hqk", query[rows], key[columns]) * (scale or query.shape[-1] ** -0.5)
        outputs.append(torch.einsum("hqk,khd->qhd", torch.softmax(products, dim=-1), value[columns]))
    return torch.cat(outputs)


@settings(deadline=None)
@given(texts)
def test_keys_that_nobody_attends_to_are_left_out_for_the_kernel(pairs: list[tuple[int, int]]) -> None:
    lengths, attended = zip(*pairs, strict=True)
    packed = Packed(torch.zeros(sum(lengths), dtype=torch.int64), lengths, attended)
    query, key, value = drawn(sum(lengths))
    came = attention._attend_at_once(variable_length_attention, query, key, value, packed, None)
    torch.testing.assert_close(came, attend(query, key, value, packed), atol=1e-5, rtol=1e-4)


def test_torchs_own_kernel_has_the_signature_that_is_called() -> None:
    import inspect

    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="needs torch 2.10")
    names = list(inspect.signature(varlen.varlen_attn).parameters)
    assert names[:7] == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
    assert "scale" in names
    assert attention._torch_kernel() is not None


def test_flash_attn_that_is_not_installed_is_named() -> None:
    try:
        import flash_attn  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match=r"jcb-engine\[flash\]"):
            attention.flash_attn_kernel()
    else:
        pytest.skip("flash-attn is installed")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cuda_gives_what_the_cpu_gives(dtype: torch.dtype) -> None:
    lengths, attended = (5, 5, 32, 1, 300), (5, 3, 32, 1, 300)
    packed = Packed(torch.zeros(sum(lengths), dtype=torch.int64), lengths, attended)
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(sum(lengths), 4, 64, generator=generator).to(dtype) for _ in range(3)]
    exact = attend(*(part.double() for part in parts), packed)
    plain = attend(*parts, packed)
    on_gpu = Packed(packed.ids.cuda(), lengths, attended)
    came = attend(*(part.cuda() for part in parts), on_gpu).cpu()
    # no worse than twice the error of plain torch in the same precision
    assert (came.double() - exact).abs().max() <= 2 * (plain.double() - exact).abs().max() + 1e-4
