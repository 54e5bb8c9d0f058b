"""Packed weights compute what plain ones do, and what cannot be packed is computed plainly."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from jcb_engine.encoder.backbones import linear as linear_module  # noqa: E402
from jcb_engine.encoder.backbones.linear import PackedLinear, linear, pack_linear_modules  # noqa: E402


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(96, 160)


@pytest.mark.parametrize("rows", [1, 3, 100, 2500])
@pytest.mark.parametrize("gelu", [False, True])
@torch.inference_mode()
def test_packed_is_plain_within_rounding(layer: nn.Linear, rows: int, gelu: bool) -> None:
    inputs = torch.randn(rows, 96, generator=torch.Generator().manual_seed(rows))
    exact = F.linear(inputs.double(), layer.weight.double(), layer.bias.double())
    exact = F.gelu(exact) if gelu else exact
    for bias, wanted in ((layer.bias, exact), (None, None)):
        came = linear(layer.weight, bias, gelu=gelu)(inputs)
        if wanted is not None:
            torch.testing.assert_close(came.double(), wanted, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_same_input_gives_the_same_bits(layer: nn.Linear) -> None:
    inputs = torch.randn(77, 96)
    packed = PackedLinear(layer.weight, layer.bias, gelu=True)
    assert torch.equal(packed(inputs), packed(inputs))


class FeedForward(nn.Module):
    """As transformers names its parts."""

    def __init__(self) -> None:
        super().__init__()
        from transformers.activations import ACT2FN

        self.dense = nn.Linear(8, 24)
        self.intermediate_act_fn = ACT2FN["gelu"]
        self.output = nn.Linear(24, 8, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.output(self.intermediate_act_fn(self.dense(inputs)))


@torch.inference_mode()
def test_a_model_of_transformers_computes_the_same_with_every_layer_packed() -> None:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = nn.Sequential(FeedForward(), nn.LayerNorm(8), FeedForward())
    inputs = torch.randn(2, 5, 8)
    expected = model(inputs)
    pack_linear_modules(model)
    assert not [module for module in model.modules() if type(module) is nn.Linear]
    torch.testing.assert_close(model(inputs), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_gelu_that_is_approximated_stays_where_it_is() -> None:
    pytest.importorskip("transformers")
    model = FeedForward()
    model.intermediate_act_fn = nn.GELU(approximate="tanh")
    inputs = torch.randn(4, 8)
    expected = model(inputs)
    pack_linear_modules(model)
    assert isinstance(model.intermediate_act_fn, nn.GELU)
    torch.testing.assert_close(model(inputs), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_without_torchs_operators_layers_are_plain(layer: nn.Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(linear_module, "_packable_dtypes", frozenset)
    inputs = torch.randn(7, 96)
    assert torch.equal(linear(layer.weight, layer.bias, gelu=True)(inputs), F.gelu(layer(inputs)))
    model = FeedForward()
    small = torch.randn(3, 8)
    expected = model(small)
    pack_linear_modules(model)
    assert torch.equal(model(small), expected)


def test_operators_that_changed_are_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(weight: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(linear_module, "_packed", changed)
    assert linear_module._computes(torch.float32) is False
    monkeypatch.setattr(linear_module, "_packed", lambda weight: weight * 2)
    assert linear_module._computes(torch.float32) is False
