from pathlib import Path

import pytest
from torch import nn
from transformers.pytorch_utils import Conv1D

from flows.planning.preflight import files
from flows.planning.preflight.linears import _likely, experts, seen, stacks
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.selection import _linears
from quantizers.model.skeleton import build
from quantizers.recipe import Recipe
from tests.quantizers.families.tiny_models import MODELS, make


@pytest.mark.parametrize("name", MODELS)
def test_linears_seen_in_headers_are_linears_of_the_model_with_their_input_features(name: str, tmp_path: Path) -> None:
    model = make(name)
    model.save_pretrained(tmp_path)
    real = {
        module: layer.in_features if isinstance(layer, nn.Linear) else layer.weight.shape[0]
        for module, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D)
    }
    likely = _likely(files.local(tmp_path, files.state_of(tmp_path)))
    assert likely.items() <= real.items()
    assert len(likely) > len(real) / 2


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith(("t5", "switch", "bert"))])
def test_the_linears_of_known_architectures_are_those_of_the_skeleton(name: str, tmp_path: Path) -> None:
    make(name).save_pretrained(tmp_path)
    skeleton = build(open_checkpoint(tmp_path))
    recipe = Recipe(format="openvino")
    real = _linears(skeleton, recipe)
    shape = seen(files.local(tmp_path, files.state_of(tmp_path)))
    routers = {name for name in real.inputs if name.endswith("shared_expert_gate")}
    assert shape.whole
    assert dict(shape.linears.inputs) == {name: size for name, size in real.inputs.items() if name not in routers}
    assert dict(shape.linears.tied) == {
        n: twin.removesuffix(".weight") for n, twin in real.tied.items() if n in real.inputs
    }
    assert sorted(map(sorted, stacks(shape.linears, recipe))) == sorted(map(sorted, real.stacks))
    assert bool(experts(shape.linears)) == bool(real.stacks)
    assert set(shape.stored.values()) <= open_checkpoint(tmp_path).tensors.keys()
