import pytest
import torch
from bitsandbytes.functional import quantize_4bit
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

from quantizers.dtypes import grouped
from quantizers.formats import bitsandbytes
from quantizers.formats.compressed_tensors import pack_words
from quantizers.ranges.minmax import minmax
from quantizers.recipe import Recipe
from quantizers.rounding.nearest import nearest


@pytest.mark.parametrize("columns", [256, 100, 33])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_words_are_those_of_compressed_tensors(bits, columns):
    codes = torch.randint(-(1 << (bits - 1)), 1 << (bits - 1), (24, columns), dtype=torch.int8)
    assert torch.equal(pack_words(codes, bits), pack_to_int32(codes, bits))


@pytest.mark.parametrize(("dtype", "kind"), [("nf4", "nf4"), ("fp4_bnb", "fp4")])
def test_bytes_are_those_of_bitsandbytes(dtype, kind):
    recipe = Recipe(format="bitsandbytes", dtype=dtype, group_size=64)
    weight = torch.randn(32, 256)
    scale, zero = minmax(grouped(weight, 64), recipe.grid, torch.float32)
    packed = bitsandbytes.pack(nearest(weight, scale, zero, recipe.grid, 64), recipe, torch.float32)
    expected, state = quantize_4bit(weight, blocksize=64, quant_type=kind)
    torch.testing.assert_close(packed["weight.absmax"], state.absmax, rtol=1e-6, atol=0)
    halves = [torch.cat([p >> 4, p & 15], 1).flatten() for p in (packed["weight"], expected)]
    values = [state.code[h.int()] for h in halves]
    assert torch.equal(*values)
