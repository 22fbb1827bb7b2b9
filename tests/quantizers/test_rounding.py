"""The fast column loops against the plain statement of what they compute."""

import numpy as np
import pytest
import torch

from catalog.dtypes import DTYPES, Grid
from quantizers.dtypes import Codes, decode, dequantize, encode, grouped
from quantizers.ranges.minmax import minmax
from quantizers.rounding.compensated import DAMPING, compensated, damped, factorize
from quantizers.rounding.nearest import nearest
from quantizers.rounding.refine import refine

pytestmark = pytest.mark.xdist_group("rounding")

GRIDS = [
    DTYPES[name].grid(symmetric)
    for name, symmetric in (("int4", False), ("int4", True), ("int8", True), ("int2", False), ("nf4", True))
]
SIZE = 32


@pytest.fixture(scope="module")
def layer() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A weight `[100, 288]` (no multiple of a block or a tile), the second moment of correlated inputs, a fold."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(100, 288, generator=generator) * 0.05
    mix = torch.randn(288, 288, generator=generator) / 17 + torch.eye(288)
    inputs = torch.randn(4000, 288, generator=generator) @ mix * torch.randn(288, generator=generator).exp()
    return weight, inputs.T @ inputs / len(inputs), (torch.randn(288, generator=generator) * 0.3).exp()


def rounded(weight: torch.Tensor, kind: Grid) -> Codes:
    scale, zero = minmax(grouped(weight, SIZE), kind, torch.float32)
    return nearest(weight, scale, zero, kind, SIZE)


def gptq(weight: torch.Tensor, q: Codes, kind: Grid, moment: torch.Tensor, fold: torch.Tensor) -> np.ndarray:
    """Algorithm 1 of arXiv:2210.17323 in float64, column by column, with the inverse of the moment."""
    moment = (moment / fold / fold[:, None]).double()
    moment.diagonal().add_(DAMPING * moment.diagonal().mean())
    order = torch.argsort(moment.diagonal(), descending=True, stable=True)
    upper = torch.linalg.cholesky(torch.linalg.inv(moment[order][:, order]), upper=True)
    left, codes = weight.double()[:, order], torch.empty_like(q.codes)
    for i, column in enumerate(order):
        scale = q.scale[:, column // SIZE].double()
        zero = None if q.zero is None else q.zero[:, column // SIZE].double()
        code = encode(left[:, i], scale, zero, kind)
        error = (left[:, i] - decode(code, scale, zero, kind)) / upper[i, i]
        left[:, i:] -= error[:, None] * upper[i, i:]
        codes[:, column] = code.to(torch.int8)
    return codes.numpy()


def damage(weight: torch.Tensor, q: Codes, kind: Grid, moment: torch.Tensor) -> float:
    off = dequantize(q, kind) - weight
    return float(((off @ moment) * off).sum())


@pytest.mark.parametrize("kind", GRIDS, ids=lambda kind: f"{kind.name}-{'s' if kind.symmetric else 'a'}")
def test_compensated_rounding_is_gptq(layer, kind):
    weight, moment, fold = layer
    start = rounded(weight, kind)
    zero = None if start.zero is None else start.zero.float()
    q = compensated(weight, start.scale, zero, kind, SIZE, factorize(moment, fold))
    wanted = gptq(weight, start, kind, moment, fold)
    assert (q.codes.numpy() == wanted).mean() > 0.995, "float32 may tip a weight that lies between two codes"
    effective = moment / fold / fold[:, None]
    other = Codes(torch.from_numpy(wanted), start.scale, start.zero)
    ours, theirs = damage(weight, q, kind, effective), damage(weight, other, kind, effective)
    assert ours == pytest.approx(theirs, rel=0.01)
    assert ours < 0.8 * damage(weight, start, kind, effective)


@pytest.mark.parametrize("kind", GRIDS[:2], ids=("asymmetric", "symmetric"))
def test_refining_lowers_the_error_and_keeps_to_the_grid(layer, kind):
    weight, moment, fold = layer
    start = rounded(weight, kind)
    zero = None if start.zero is None else start.zero.float()
    q = compensated(weight, start.scale, zero, kind, SIZE, factorize(moment, fold))
    held = damped(moment.clone(), fold)
    better = refine(weight, q, kind, held, torch.bfloat16)
    assert damage(weight, better, kind, held) < 0.95 * damage(weight, q, kind, held)
    assert kind.low <= int(better.codes.min()) and int(better.codes.max()) <= kind.high
    assert torch.equal(better.scale.bfloat16().float(), better.scale)


def test_how_rows_are_shared_out_changes_no_bit(layer):
    weight, moment, fold = layer
    kind = DTYPES["int4"].grid(False)
    start = rounded(weight, kind)
    threads = torch.get_num_threads()
    codes = []
    try:
        for count in (1, 3):
            factor = factorize(moment, fold)
            torch.set_num_threads(count)
            codes.append(compensated(weight, start.scale, start.zero.float(), kind, SIZE, factor).codes)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*codes)
    alone = compensated(weight[:7], start.scale[:7], start.zero[:7].float(), kind, SIZE, factorize(moment, fold))
    assert torch.equal(alone.codes, codes[0][:7])
