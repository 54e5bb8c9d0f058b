"""Rotary positions turn pairs of dimensions by the angle of their position, and attention is the library's."""

from __future__ import annotations

import pytest
import torch

from jcb_engine.encoder.backbones.packing import Packed
from jcb_engine.encoder.backbones.rotary import RotaryAttention, RotaryPositions, turn


def rotated_half(vectors: torch.Tensor) -> torch.Tensor:
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


@pytest.mark.parametrize("base", [10_000.0, 20_000.0])
def test_turning_in_place_is_the_formula_of_the_paper(base: float) -> None:
    tokens, heads, dim = 37, 3, 16
    frequencies = base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    positions = torch.randint(0, 8_000, (1, tokens), generator=torch.Generator().manual_seed(1))
    vectors = torch.randn(tokens, 2, heads, dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    angles = (positions[0, :, None] * frequencies).repeat(1, 2)[:, None, None]
    wanted = vectors * angles.cos() + rotated_half(vectors) * angles.sin()
    cosines, sines = RotaryPositions(frequencies.float())(torch.zeros(1), positions)
    turned = vectors.float()
    turn(turned, cosines, sines)
    torch.testing.assert_close(turned.double(), wanted, atol=2e-3, rtol=0)  # fp32 angles of up to 8,000 radians
    near = positions[0] < 200
    torch.testing.assert_close(turned.double()[near], wanted[near], atol=1e-4, rtol=0)


def test_products_of_turned_vectors_depend_on_the_distance_alone() -> None:
    dim = 8
    frequencies = RotaryPositions(10_000.0 ** (-torch.arange(0, dim, 2) / dim))
    generator = torch.Generator().manual_seed(3)
    query, key = torch.randn(1, 1, 1, dim, generator=generator), torch.randn(1, 1, 1, dim, generator=generator)

    def product(query_position: int, key_position: int) -> float:
        one, other = query.clone(), key.clone()
        turn(one, *frequencies(query, torch.tensor([[query_position]])))
        turn(other, *frequencies(key, torch.tensor([[key_position]])))
        return float((one * other).sum())

    assert product(5, 2) == pytest.approx(product(105, 102), abs=1e-4)
    assert product(5, 2) != pytest.approx(product(5, 4), abs=1e-2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_attention_over_packed_texts_is_the_library_s_of_each_text(dtype: torch.dtype, tolerance: float) -> None:
    library = pytest.importorskip("transformers.models.jina_embeddings_v3.modeling_jina_embeddings_v3")
    config = library.JinaEmbeddingsV3Config(
        hidden_size=64, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0}
    )
    config._attn_implementation = "eager"
    torch.manual_seed(4)
    attention, positions = library.JinaEmbeddingsV3Attention(config), library.JinaEmbeddingsV3RotaryEmbedding(config)
    attention, lengths, attended = attention.to(dtype).eval(), (5, 5, 9), (5, 2, 9)
    hidden = torch.randn(1, sum(lengths), 64).to(dtype)
    wanted, start = [], 0
    with torch.inference_mode():
        for length, seen in zip(lengths, attended, strict=True):
            own = hidden[:, start : start + length]
            mask = torch.zeros(1, 1, length, length, dtype=dtype)
            mask[..., seen:] = -torch.inf
            embeddings = positions(own, torch.arange(length)[None])
            wanted.append(attention(own, attention_mask=mask, position_embeddings=embeddings)[0])
            start += length
        packed = Packed(torch.zeros(sum(lengths), dtype=torch.int64), lengths, attended)
        turns = RotaryPositions(positions.inv_freq)(hidden, packed.positions()[None])
        found, _ = RotaryAttention(attention)(hidden, position_embeddings=turns, packed=packed)
    torch.testing.assert_close(found, torch.cat(wanted, dim=1), atol=tolerance, rtol=tolerance)
