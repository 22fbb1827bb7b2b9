"""Encoder-decoder models as OpenVINO IR: a graph each, and both compute what the stock model does with their weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from optimum.intel import OVModelForSeq2SeqLM
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM

from bench import tiny
from gates.checks.weights import weights
from gates.clients.optimum_intel import Model
from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request
from tests.quantizers.models import DEMO, edit_json, edit_tensors

pytestmark = pytest.mark.xdist_group("mixtures")
IDS = torch.arange(2 * 12).view(2, 12) * 7 % 61 + 1
TASK = "text2text-generation"


def saved(kind: str, directory: Path) -> Path:
    tiny.save(kind, directory, "seq2seq")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (directory / file).write_bytes((DEMO / "model" / file).read_bytes())
    edit_json(directory / "config.json", lambda config: config.update(decoder_start_token_id=0))
    return directory


@torch.no_grad()
def logits(model) -> torch.Tensor:
    given = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "decoder_input_ids": IDS.flip(1)[:, :7]}
    return torch.as_tensor(model(**given).logits).float()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("t5", {"dtype": "int4", "symmetric": False, "rounding": "compensated", "transform": "awq"}),
        ("bart", {"dtype": "int8", "embeddings": "int8"}),
        ("pegasus", {"dtype": "int4"}),
    ],
)
def test_both_graphs_compute_with_the_artifacts_weights(kind: str, changes: dict, tmp_path: Path) -> None:
    model = saved(kind, tmp_path / "model")
    recipe = Recipe(format="openvino", group_size=8, **changes)
    text = Calibration(documents=DEMO / "calibration.jsonl", samples=8, tokens=32)
    run(Request(model=model, task=TASK, targets={"ir": recipe}, calibration=text), tmp_path / "out")
    artifact = OVModelForSeq2SeqLM.from_pretrained(
        tmp_path / "out/ir", ov_config={"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    )
    loaded = Model(artifact)
    dense = dict(loaded.weights())
    original = load_file(model / "model.safetensors")
    linears = AutoModelForSeq2SeqLM.from_pretrained(model).named_modules()
    wanted = {f"{name}.weight" for name, module in linears if isinstance(module, torch.nn.Linear)}
    # A head that is tied has the embedding's name.
    assert wanted - {"lm_head.weight"} <= dense.keys() <= original.keys() | {"lm_head.weight"}
    assert weights(loaded, model).passed
    expected = logits(AutoModelForSeq2SeqLM.from_pretrained(model, dtype=torch.float32))
    before = logits(artifact)
    assert (before - expected).norm() < 0.4 * expected.norm()
    if recipe.transform or recipe.embeddings:  # what else changed is not among the weights of products
        return
    edit_tensors(model, lambda tensors: tensors.update({n: w.contiguous() for n, w in dense.items() if n in tensors}))
    expected = logits(AutoModelForSeq2SeqLM.from_pretrained(model, dtype=torch.float32))
    torch.testing.assert_close(before, expected, rtol=1e-3, atol=1e-3)


def test_nncf_writes_one_graph_alone(tmp_path: Path) -> None:
    model = saved("t5", tmp_path / "model")
    recipe = Recipe(format="openvino", engine="nncf", dtype="int8", group_size=-1)
    with pytest.raises(QuantizeError, match="Use engine streaming"):
        run(Request(model=model, task=TASK, targets={"ir": recipe}), tmp_path / "out")
