"""An artifact of bitsandbytes, its linears given their packed weights one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM

from bench.tiny import shrunk
from catalog.runtime import RuntimeOptions
from gates.clients import client
from tests.gates.artifacts import Tensors, edit_tensors, pack
from tests.gates.conftest import Bench
from tests.gates.test_streamed import says_the_same
from tests.gates.test_streamed_artifacts import STREAMED

TYPES = ("llama", "qwen2", "gemma", "phi3", "gpt2", "opt", "gpt_neox", "bloom", "mixtral")


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("hold_bytes", [0, 30_000])
def test_logits_and_weights_are_those_of_the_stock_loader(
    model_type: str, hold_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(shrunk(model_type)).save_pretrained(tmp_path / "model")
    path = pack(tmp_path / "model", tmp_path / "packed", "fp4" if hold_bytes else "nf4")
    whole, read = (
        client.load(path, "bitsandbytes", RuntimeOptions(), "text-generation", hold) for hold in (None, hold_bytes)
    )
    # Before it multiplies: the stock loader may pack them anew then, and round what scales them.
    dense = {name: weight.clone() for name, weight in whole.weights()}
    says_the_same(whole, read, monkeypatch, rtol=2e-2, atol=2e-2)
    found = dict(read.weights())
    assert found.keys() == dense.keys() and all(torch.equal(found[name], dense[name]) for name in dense)


def test_no_linear_keeps_a_weight(packed_artifact: Path) -> None:
    loaded = client.load(packed_artifact, "bitsandbytes", RuntimeOptions(), "text-generation", 0)
    list(loaded.weights())
    loaded.logits(torch.arange(8))
    linears = [module for module in loaded.model.modules() if isinstance(module, Linear4bit)]
    assert linears and not any(module.weight.numel() or module.quant_state for module in linears)


UP = "model.layers.1.mlp.up_proj.weight"
DAMAGE: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "missing": (lambda tensors: tensors.pop(UP), "up_proj"),
    "left over": (lambda tensors: tensors.update({UP.replace("1", "9"): tensors[UP].clone()}), "up_proj"),
    "norm": (lambda tensors: tensors.update({"model.norm.weight": torch.ones(8)}), "norm"),
    "scale": (lambda tensors: tensors[f"{UP}.absmax"][5:6].mul_(-1), "weights"),
}
"""What breaks it, and a word of what is told."""


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told(packed_artifact: Path, damage: str, tmp_path: Path, bench: Bench) -> None:
    copy = Path(shutil.copytree(packed_artifact, tmp_path / "artifact"))
    change, word = DAMAGE[damage]
    edit_tensors(copy, change)
    evidence = bench.evidence(copy, tmp_path / "out", format="bitsandbytes", streamed=STREAMED)
    failed = {check.name: check.detail for check in evidence.checks if not check.passed}
    assert failed and word in str(failed), failed
