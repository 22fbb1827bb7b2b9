import copy

import pytest
import torch

from quantizers.artifact.target import prepare
from quantizers.calibration.activations import Activations
from quantizers.calibration.block_pass import advance
from quantizers.calibration.block_solver import BlockSolver
from quantizers.calibration.blocks import first_inputs
from quantizers.calibration.solving import within
from quantizers.families import family_of
from quantizers.hardware.device import Compute
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.skeleton import build
from quantizers.model.values import materialize
from quantizers.recipe import Recipe
from quantizers.sensitivity.measure import Rounded
from quantizers.transforms.fold import present, weight_of
from tests.quantizers.models import DEMO
from tests.quantizers.test_architectures import save

INT4 = {"symmetric": False, "group_size": 64, "transform": "awq", "rounding": "compensated"}
# Two rows are enough for some of the experts and too few for others.
SWITCH = {"format": "bitsandbytes", "dtype": "nf4", "group_size": 32, "rounding": "compensated"}
MIXTRAL = {"format": "openvino", "group_size": 16, "rounding": "compensated", "transform": "awq"}


@pytest.mark.parametrize(
    ("name", "index", "recipe"),
    [
        ("demo", 0, INT4),
        ("demo", 0, INT4 | {"range": "mse"}),
        ("switch_transformers", 1, SWITCH),
        ("mixtral", 1, MIXTRAL),
    ],
)
@torch.no_grad()
def test_what_nobody_reads_afterwards_is_let_go_and_changes_no_bit(name, index, recipe, tmp_path):
    model = DEMO / "model" if name == "demo" else save(name, tmp_path / "model")
    checkpoint = open_checkpoint(model)
    skeleton, family = build(checkpoint), family_of(checkpoint.config)
    stream = Activations(tmp_path / "stream", None)
    rows = torch.arange(2 * 64).view(2, 64) * 7 % 2000
    blocks = first_inputs(checkpoint, skeleton, family, 0, rows, stream, None)
    prefix = f"{blocks.stack.path}.{index}"
    block = materialize(skeleton.model.get_submodule(prefix), prefix, checkpoint, skeleton)
    groups = present(block, blocks.stack.groups)
    target = prepare("t", Recipe(**recipe), skeleton, checkpoint, tmp_path)
    on = Compute(torch.device("cpu"), torch.float32)
    moments = advance(block, index, blocks, groups, stream, on, within(prefix, target.linears))

    def solved(consume_inputs: bool) -> Rounded:
        taker = Rounded(target.recipe, target.linears, target.dtype, target.stored)
        twin, sums = copy.deepcopy(block), copy.deepcopy(moments)
        solver = BlockSolver(taker, twin, prefix, groups, sums, consume_inputs=consume_inputs)
        solver.solve(check=lambda folded: None)
        left = [weight_of(twin, n.removeprefix(f"{prefix}.")).numel() for n in taker.dense]
        left += [moment.numel() for each in sums if each.own for moment in (*each.own.values(), each.pooled)]
        assert not any(left) if consume_inputs else all(left)
        return taker

    kept, consumed = solved(False), solved(True)
    quantized = {n for n in target.linears if n.startswith(f"{prefix}.")}
    assert kept.dense.keys() == consumed.dense.keys() == quantized != set()
    for linear, weight in kept.dense.items():
        assert torch.equal(weight, consumed.dense[linear]), linear
