"""Our grids against the references they are named after: neural-compressor, bitsandbytes, OpenVINO's nf4."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
import torch
from bitsandbytes.functional import get_4bit_type
from neural_compressor.torch.algorithms.weight_only.utility import FLOAT_MAPPING, quant_tensor
from openvino import opset15 as ops

from catalog.dtypes import DTYPES
from quantizers.dtypes import Codes, dequantize, grouped, scale_from
from quantizers.ranges.minmax import minmax
from quantizers.rounding.nearest import nearest

INTEGERS = [
    *((f"int{bits}", bits, symmetric, False) for bits in (2, 3, 4, 8) for symmetric in (False, True)),
    ("int4_fullrange", 4, True, True),
    ("int4_clip", 4, True, False),
]
GROUPS = (16, 32, 128, -1)


def weights() -> torch.Tensor:
    """[48, 128] with the corners: zero groups, one-sided groups, ties, huge and tiny groups."""
    weight = torch.randn(48, 128, generator=torch.Generator().manual_seed(0))
    weight[0] = 0.0
    weight[1] = weight[1].abs()
    weight[2] = -weight[2].abs()
    weight[3] *= 1e4
    weight[4] *= 1e-6
    weight[5] = torch.linspace(-7, 7, 128)
    weight[6, :32] = torch.arange(32) % 16 - 8.0
    weight[7] = 0.5
    weight[8, ::2] = 3.5
    weight[8, 1::2] = -3.5
    return weight


def ours(dtype: str, symmetric: bool, group_size: int) -> Codes:
    scale, zero = minmax(grouped(weights(), group_size), DTYPES[dtype].grid(symmetric), torch.float32)
    return nearest(weights(), scale, zero, DTYPES[dtype].grid(symmetric), group_size)


@pytest.mark.parametrize("group_size", GROUPS)
@pytest.mark.parametrize(("dtype", "bits", "symmetric", "full_range"), INTEGERS)
def test_integers_scales_and_zero_points_equal_neural_compressor(
    dtype: str, bits: int, symmetric: bool, full_range: bool, group_size: int
) -> None:
    mine = ours(dtype, symmetric, group_size)
    scheme = "sym" if symmetric else "asym"
    codes, scale, zero = quant_tensor(
        weights(), bits=bits, group_size=group_size, scheme=scheme, return_int=True, full_range=full_range
    )
    # neural-compressor counts an asymmetric grid from 0, we from the middle.
    middle = 0 if symmetric else 1 << (bits - 1)
    assert torch.equal(mine.codes.float() + middle, codes)
    assert torch.equal(mine.scale, scale)
    if symmetric:
        assert mine.zero is None and zero is None
    else:
        assert mine.zero is not None and torch.equal(mine.zero.float() + middle, zero)


@pytest.mark.parametrize("group_size", GROUPS)
@pytest.mark.parametrize(("dtype", "theirs"), [("nf4", "nf4"), ("fp4_bnb", "fp4_e2m1_bnb")])
def test_codebooks_round_as_neural_compressor(dtype: str, theirs: str, group_size: int) -> None:
    """fp4_e2m1_bnb is bitsandbytes' codebook, in other units."""
    expected = quant_tensor(weights(), bits=4, group_size=group_size, dtype=theirs)
    mine = dequantize(ours(dtype, True, group_size), DTYPES[dtype].grid())
    torch.testing.assert_close(mine, expected, rtol=2e-6, atol=0)


def normalized(dtype: str) -> torch.Tensor:
    values = torch.tensor(DTYPES[dtype].grid().values, dtype=torch.float64)
    return values / values.max()


def test_the_codebooks_are_neural_compressor_s() -> None:
    for dtype, theirs in (("nf4", "nf4"), ("fp4_bnb", "fp4_e2m1_bnb")):
        expected = torch.tensor(FLOAT_MAPPING[theirs], dtype=torch.float64)
        torch.testing.assert_close(normalized(dtype), expected / expected.max(), rtol=1e-7, atol=0)


@pytest.mark.parametrize(("dtype", "theirs"), [("nf4", "nf4"), ("fp4_bnb", "fp4")])
def test_the_codebooks_are_bitsandbytes_s(dtype: str, theirs: str) -> None:
    expected = torch.unique(get_4bit_type(theirs, device="cpu")).double()
    torch.testing.assert_close(normalized(dtype), expected, rtol=1e-6, atol=0)


def test_nf4_is_openvino_s() -> None:
    """All sixteen codes of OpenVINO's type, converted to float32 by OpenVINO."""
    codes = np.array([low | (low + 1) << 4 for low in range(0, 16, 2)], np.uint8)
    packed = ov.Tensor(codes, ov.Shape([16]), ov.Type.nf4)
    model = ov.Model([ops.convert(ops.constant(packed, shared_memory=True), ov.Type.f32)], [])
    expected = np.unique(ov.compile_model(model, "CPU")([])[0])
    # OpenVINO keeps nf4 with six digits.
    np.testing.assert_allclose(np.array(DTYPES["nf4"].grid().values), expected, rtol=0, atol=5e-7)


def test_a_scale_is_rounded_to_what_is_stored_before_codes_are_chosen() -> None:
    low, high = torch.tensor([-1.2345]), torch.tensor([2.3456])
    scale, _ = scale_from(low, high, DTYPES["int4"].grid(False), torch.bfloat16)
    assert torch.equal(scale, scale.bfloat16().float())
