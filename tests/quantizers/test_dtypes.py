import pytest
import torch

from catalog.dtypes import DTYPES
from quantizers.dtypes import dequantize, grouped
from quantizers.ranges.minmax import minmax
from quantizers.ranges.mse import mse
from quantizers.rounding.nearest import nearest


def weight() -> torch.Tensor:
    torch.manual_seed(3)
    weight = torch.randn(48, 256) * torch.rand(48, 1) * 4
    weight[0] = 0
    weight[1, :64] = weight[1, :64].abs()
    weight[2, :64] = -weight[2, :64].abs()
    return weight


def rounded(dtype: str, symmetric: bool, size: int):
    on = DTYPES[dtype].grid(symmetric)
    scale, zero = minmax(grouped(weight(), size), on, torch.float32)
    return on, nearest(weight(), scale, zero, on, size)


@pytest.mark.parametrize("dtype", ["int2", "int3", "int4", "int8", "int4_fullrange", "int4_clip", "nf4", "fp4_bnb"])
def test_a_weight_is_off_by_half_a_step_at_most(dtype):
    on, q = rounded(dtype, True, 64)
    step = max(b - a for a, b in zip(on.values, on.values[1:], strict=False)) if on.values else 1.0
    clipped = 1.0 if on.name == "int4_fullrange" else 0.5
    error = grouped(dequantize(q, on) - weight(), 64).abs().amax(-1)
    assert (error <= clipped * step * q.scale.abs() * 1.0001).all()


def test_int4_clip_never_uses_the_lowest_code():
    assert rounded("int4_clip", True, 64)[1].codes.min() == -7
    assert rounded("int4_fullrange", True, 64)[1].codes.min() == -8


def test_codes_are_chosen_for_the_scale_that_is_stored():
    on = DTYPES["int8"].grid(True)
    scale, zero = minmax(grouped(weight(), -1), on, torch.bfloat16)
    assert torch.equal(scale, scale.bfloat16().float())
    error = (dequantize(nearest(weight(), scale, zero, on, -1), on) - weight()).abs()
    inside = weight().abs() <= scale * 127
    assert (error[inside] <= (scale.expand_as(error)[inside] / 2) * 1.0001).all()


def test_an_underflowing_scale_stays_positive():
    scale, _ = minmax(torch.full((1, 1, 64), 1e-9), DTYPES["int4"].grid(), torch.float16)
    assert scale.item() == torch.finfo(torch.float16).tiny


@pytest.mark.parametrize("symmetric", [True, False])
def test_mse_is_better_than_minmax_and_follows_the_importance(symmetric):
    on, groups = DTYPES["int3"].grid(symmetric), grouped(weight(), 64)
    importance = torch.rand(4, 64) ** 4

    def loss(scales, weigh):
        q = nearest(weight(), scales[0], scales[1], on, 64)
        return (grouped(dequantize(q, on) - weight(), 64).square() * weigh).sum().item()

    plain, weighed = mse(groups, on, torch.float32), mse(groups, on, torch.float32, importance)
    assert loss(plain, 1.0) < 0.95 * loss(minmax(groups, on, torch.float32), 1.0)
    assert loss(weighed, importance) < loss(plain, importance)
