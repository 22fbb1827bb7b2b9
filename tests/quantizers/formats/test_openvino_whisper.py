"""Whisper as OpenVINO IR: both graphs compute what the stock model does with their weights, the encoder's in another dtype."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from optimum.intel import OVModelForSpeechSeq2Seq
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from gates.checks.weights import weights
from gates.clients.optimum_intel import Model
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Request
from tests import listeners
from tests.quantizers.models import edit_tensors

pytestmark = pytest.mark.xdist_group("mixtures")


@torch.no_grad()
def logits(model) -> torch.Tensor:
    heard = torch.randn(1, 32, 100, generator=torch.Generator().manual_seed(0))
    return torch.as_tensor(model(input_features=heard, decoder_input_ids=torch.arange(40, 47)[None]).logits).float()


def test_both_graphs_compute_with_the_artifacts_weights(tmp_path: Path) -> None:
    model, both = tmp_path / "model", listeners.processor()
    torch.manual_seed(0)
    listeners.configured(both.tokenizer).save_pretrained(model)
    both.save_pretrained(model)
    # As they are initialized, encoders say the same of everything.
    edit_tensors(
        model, lambda tensors: tensors.update({n: 4 * w for n, w in tensors.items() if n.endswith("proj.weight")})
    )
    told = {"dtype": "int4", "symmetric": False, "overrides": {"*encoder.layers*": "int8"}}
    recipe = Recipe(format="openvino", group_size=32, **told)
    run(Request(model=model, task="automatic-speech-recognition", targets={"ir": recipe}), tmp_path / "out")
    artifact = OVModelForSpeechSeq2Seq.from_pretrained(
        tmp_path / "out/ir", ov_config={"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    )
    loaded = Model(artifact)
    dense = dict(loaded.weights())
    linears = AutoModelForSpeechSeq2Seq.from_pretrained(model).named_modules()
    wanted = {f"{name}.weight" for name, module in linears if isinstance(module, torch.nn.Linear)}
    assert wanted - {"proj_out.weight"} <= dense.keys()
    assert weights(loaded, model).passed
    before = logits(artifact)
    plain = logits(AutoModelForSpeechSeq2Seq.from_pretrained(model, dtype=torch.float32))
    assert 0.001 * plain.norm() < (before - plain).norm() < 0.4 * plain.norm()
    edit_tensors(model, lambda tensors: tensors.update({n: w.contiguous() for n, w in dense.items() if n in tensors}))
    expected = logits(AutoModelForSpeechSeq2Seq.from_pretrained(model, dtype=torch.float32))
    torch.testing.assert_close(before, expected, rtol=1e-3, atol=1e-3)
    heard = AutoProcessor.from_pretrained(tmp_path / "out/ir").feature_extractor
    assert heard.to_dict() == both.feature_extractor.to_dict()
