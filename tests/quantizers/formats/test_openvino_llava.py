"""LLaVA as OpenVINO IR: its three graphs compute what the stock model does with their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from optimum.intel import OVModelForVisualCausalLM
from transformers import AutoModelForImageTextToText

from gates.checks.weights import weights
from gates.clients.optimum_intel import Model
from gates.clients.stored import StoredTensors
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Request
from tests import pictures
from tests.quantizers.models import edit_tensors

pytestmark = pytest.mark.xdist_group("mixtures")


def given(seed: int) -> dict[str, torch.Tensor]:
    """A made-up picture before four words."""
    pixels = torch.randn(1, 3, pictures.SIDE, pictures.SIDE, generator=torch.Generator().manual_seed(seed))
    ids = torch.tensor([[*[3] * 16, 5, 6, 7, 8]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


@torch.no_grad()
def logits(model: Any, seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(model(**given(seed)).logits[:, -4:]).float()


def test_the_graphs_compute_with_the_artifacts_weights(tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    pictures.teller(model, steps=0)
    # In 16 bits, of which the exporter is shown zeros; as they are initialized, a picture moves nothing.
    edit_tensors(model, lambda tensors: tensors.update({n: (3 * w).bfloat16() for n, w in tensors.items()}))
    recipe = Recipe(format="openvino", dtype="int4", symmetric=False, group_size=32)
    ends = recipe.model_copy(update={"embeddings": "int8"})
    made = run(Request(model=model, task="image-text-to-text", targets={"ir": recipe, "ends": ends}), out).targets
    assert made["ir"].quantized == 14 and made["ends"].weights_bytes < made["ir"].weights_bytes
    options = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    artifact = OVModelForVisualCausalLM.from_pretrained(out / "ir", ov_config=options)
    loaded, plain = Model(artifact), AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    assert weights(loaded, model).passed and len(loaded.stored_names(StoredTensors(model))) == 15
    with loaded.watched(again=True) as watch:
        before = torch.as_tensor(loaded.outputs(given(0))["logits"][:, -4:]).float()
    assert watch is not None and watch.told() is not None
    assert (before - logits(artifact, seed=1)).norm() > 0.01 * before.norm()
    assert 0.001 * before.norm() < (before - logits(plain)).norm() < 0.4 * before.norm()
    dense = dict(loaded.weights())
    linears = {f"{name}.weight" for name, module in plain.named_modules() if isinstance(module, torch.nn.Linear)}
    assert {name for name in linears - dense.keys() if "encoder.layers.2." not in name} == set()
    for name, weight in dense.items():
        plain.get_parameter(name).data = weight
    torch.testing.assert_close(before, logits(plain), rtol=1e-3, atol=1e-3)
    # Embeddings and head in eight bits are near to those.
    rounded = OVModelForVisualCausalLM.from_pretrained(out / "ends", ov_config=options)
    assert (logits(rounded) - before).norm() < 0.05 * before.norm()
