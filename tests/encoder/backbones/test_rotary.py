"""Rotary positions turn pairs of dimensions by the angle of their position, as the library's formula does."""

from __future__ import annotations

import pytest
import torch

from jcb_engine.encoder.backbones.rotary import RotaryPositions, turn


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
