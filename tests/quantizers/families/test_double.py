"""A float32 block computes in float64 without being copied."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from quantizers.transforms.float64 import ROWS, Double
from quantizers.transforms.fold import check_fold


class Cancels(nn.Module):
    """The difference of two nearly equal numbers; casts as norms do, and slices a weight as mixtures do."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(64, ROWS + 7)
        self.experts = nn.Parameter(torch.randn(2, 64, ROWS + 7))
        self.seen: list[torch.dtype] = []

    def forward(self, hidden_states: Tensor) -> Tensor:
        wide = self.a(hidden_states).to(torch.float32)
        self.seen.append(self.experts[1].dtype)
        near = functional.linear(wide, self.experts[0] * (1 + 1e-4)) - functional.linear(wide.float(), self.experts[0])
        return near + functional.softmax(near, dim=-1, dtype=torch.float32) * 1e-6


def test_float32_noise_is_gone_and_weights_are_not_widened() -> None:
    torch.manual_seed(0)
    block, inputs = Cancels().requires_grad_(False), torch.randn(3, 64)
    exact = copy.deepcopy(block).double()
    wide = exact.a(inputs.double())
    scaled, plain = (block.experts[0] * (1 + 1e-4)).double(), block.experts[0].double()
    near = functional.linear(wide, scaled) - functional.linear(wide, plain)
    wanted = near + near.softmax(-1) * 1e-6
    with Double():
        output = block(inputs.double())
    assert check_fold(block, wanted, {"hidden_states": inputs}, tolerance=1) > 1e-5
    assert float((output - wanted).norm() / wanted.norm()) < 1e-13
    assert block.seen[0] == torch.float32 and block.a.weight.dtype == torch.float32


def test_nothing_is_widened_without_a_float64_tensor() -> None:
    block = Cancels().requires_grad_(False)
    with Double():
        assert block(torch.randn(3, 64)).dtype == torch.float32


def test_shapes_that_do_not_fit_still_fail() -> None:
    with pytest.raises(RuntimeError), Double():
        Cancels()(torch.randn(3, 65).double())
