from pathlib import Path

import pytest
from torch import nn
from transformers.pytorch_utils import Conv1D

from flows.manifest.check import _linears
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
    seen = _linears(tmp_path, ())
    assert seen.items() <= real.items()
    assert len(seen) > len(real) / 2
