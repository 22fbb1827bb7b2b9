import copy

import pytest
import torch

from quantizers.activations import Activations
from quantizers.blocks import first_inputs, materialize
from quantizers.calibrated import advance
from quantizers.checkpoint import open_checkpoint
from quantizers.families import family_of
from quantizers.families.fold import present, weight_of
from quantizers.machine import Compute
from quantizers.recipe import Recipe
from quantizers.sensitivity import Rounded
from quantizers.skeleton import build
from quantizers.solve import solve
from quantizers.target import prepare
from tests.quantizers.models import DEMO


@pytest.mark.parametrize("range_", ["minmax", "mse"])
@torch.no_grad()
def test_what_nobody_reads_afterwards_is_let_go_and_changes_no_bit(range_, tmp_path):
    checkpoint = open_checkpoint(DEMO / "model")
    skeleton, family = build(checkpoint), family_of(checkpoint.config)
    stream = Activations(tmp_path / "stream", None)
    rows = torch.arange(8 * 64).view(8, 64) * 7 % 2000
    blocks = first_inputs(checkpoint, skeleton, family, 0, rows, stream, None)
    prefix = f"{blocks.stack.path}.0"
    block = materialize(skeleton.model.get_submodule(prefix), prefix, checkpoint, skeleton)
    groups = present(block, blocks.stack.groups)
    moments = advance(block, blocks, groups, stream, Compute(torch.device("cpu"), torch.float32))
    recipe = Recipe(symmetric=False, group_size=64, transform="awq", range=range_, rounding="compensated")
    target = prepare("t", recipe, skeleton, checkpoint, tmp_path)

    def solved(spent: bool) -> Rounded:
        taker = Rounded(recipe, target.linears, target.dtype, target.stored)
        twin, sums = copy.deepcopy(block), copy.deepcopy(moments)
        solve(taker, twin, prefix, groups, sums, lambda folded: None, {}, spent)
        left = [weight_of(twin, name).numel() for group in groups for name in group.linears]
        left += [each.pooled.numel() for each in sums]
        assert not any(left) if spent else all(left)
        return taker

    kept, spent = solved(False), solved(True)
    assert len(kept.dense) == 7
    for name, weight in kept.dense.items():
        assert torch.equal(weight, spent.dense[name]), name
