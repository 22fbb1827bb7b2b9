"""An artifact of bitsandbytes, its linears given their packed weights one after the other: the figures of the stock loader."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import quantize_4bit
from bitsandbytes.nn import Linear4bit, Params4bit
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from bench.tiny import shrunk
from catalog.runtime import RuntimeOptions
from gates.checks import stock
from gates.clients import client, packed, streamed
from gates.evidence import Evidence
from gates.request import Streamed
from tests.gates.artifacts import edit_json, edit_tensors
from tests.gates.conftest import Bench
from tests.gates.test_streamed import in_memory, rows

LOADER = "transformers.AutoModelForCausalLM"
STREAMED = Streamed(hold_bytes=0, stock_blocks=2)
TYPES = ("llama", "qwen2", "gemma", "phi3", "gpt2", "opt", "gpt_neox", "bloom", "mixtral")


GROUP = 32


def pack(model: Path, out: Path, kind: str = "nf4") -> Path:
    """Write a model in bfloat16, its linears packed by bitsandbytes itself in groups that its kernels take of small ones."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    loaded.save_pretrained(out)
    head = loaded.get_output_embeddings()
    linears = {
        f"{name}.weight": module.weight.data.T if isinstance(module, Conv1D) else module.weight.data
        for name, module in loaded.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }
    kept = [name for name, module in loaded.named_modules() if module is head]

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in linears.keys() & tensors.keys():
            tensors[name], state = quantize_4bit(linears[name].contiguous(), blocksize=GROUP, quant_type=kind)
            tensors.update({f"{name}.{key}": value for key, value in state.as_dict(packed=True).items()})
        assert linears.keys() <= tensors.keys()

    edit_tensors(out, change)
    recipe = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=kept,
    )
    edit_json(
        out / "config.json", lambda config: config | {"quantization_config": json.loads(recipe.to_json_string(False))}
    )
    return out


@pytest.fixture(scope="module")
def artifact(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "artifact"
    shutil.copytree(bench.model, out, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    return pack(bench.model, out)


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "artifact"))


@pytest.fixture(scope="module")
def both(bench: Bench, artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evidence, Evidence]:
    out = tmp_path_factory.mktemp("both")
    whole = bench.evidence(artifact, out / "whole", format="bitsandbytes")
    return whole, bench.evidence(artifact, out / "read", format="bitsandbytes", streamed=STREAMED)


def test_the_figures_are_those_of_the_stock_loader(both: tuple[Evidence, Evidence]) -> None:
    whole, read = both
    assert whole.summary and read.summary and all(check.passed for check in read.checks), read.checks
    for name, value in whole.summary.values.items():
        assert read.summary.values[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert {check.name for check in read.checks} - {check.name for check in whole.checks} == {stock.NAME}
    assert read.runtime == {"dtype": "bfloat16", "weights": "read from the files when they are needed"} | {
        name: value for name, value in whole.runtime.items() if name != "dtype"
    }


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("hold_bytes", [0, 30_000])
def test_logits_are_those_of_the_stock_loader(
    model_type: str, hold_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(shrunk(model_type)).save_pretrained(tmp_path / "model")
    path = pack(tmp_path / "model", tmp_path / "packed", "fp4" if hold_bytes else "nf4")
    whole, read = (
        client.load(path, "bitsandbytes", RuntimeOptions(), "text-generation", hold) for hold in (None, hold_bytes)
    )
    assert whole.is_whole and not read.is_whole and not read.faults
    monkeypatch.setattr(streamed, "STREAMED_TOKENS", 24)
    given = rows((12, 12, 5, 12, 3), whole.model.config.vocab_size)
    read.expect(given)
    for ids in (*given, given[1]):
        torch.testing.assert_close(read.logits(ids), whole.logits(ids), rtol=2e-2, atol=2e-2)
    dense = dict(read.weights())
    assert dense.keys() == dict(whole.weights()).keys()


def test_weights_are_read_once_for_all_rows(
    bench: Bench, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, times = packed.Packed.anew, Counter[str]()

    def counted(self: packed.Packed, name: str) -> torch.Tensor:
        times[name] += 1
        return read(self, name)

    monkeypatch.setattr(packed.Packed, "anew", counted)
    monkeypatch.setattr(streamed, "STREAMED_TOKENS", 100)
    evidence = bench.evidence(artifact, tmp_path / "out", format="bitsandbytes", streamed=STREAMED)
    assert evidence.chat and all(check.passed for check in evidence.checks), evidence.checks
    # By the check of weights, and for documents, conversations, the long row and prompts; two blocks beside the stock loader.
    counts = [
        {count for name, count in times.items() if name.endswith("proj.weight") and f"layers.{block}." in name}
        for block in range(4)
    ]
    assert counts == [{3}, {3}, {2}, {2}]


def test_no_linear_keeps_a_weight(artifact: Path) -> None:
    loaded = client.load(artifact, "bitsandbytes", RuntimeOptions(), "text-generation", 0)
    list(loaded.weights())
    loaded.logits(torch.arange(8))
    assert not in_memory(loaded)
    linears = [module for module in loaded.model.modules() if isinstance(module, Linear4bit)]
    assert linears and not any(module.weight.numel() or module.quant_state for module in linears)


def test_the_stock_loader_must_say_what_is_streamed(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [torch.arange(24), torch.arange(7, 90)]

    def said() -> client.Beginning:
        return client.first_blocks(artifact, "bitsandbytes", RuntimeOptions(), "text-generation", 1, given)

    check = stock.agrees(said(), LOADER)
    assert check.passed and " 0 steps" in check.detail, check
    read = packed.Packed.anew

    def other(self: packed.Packed, name: str) -> torch.Tensor:
        tensor = read(self, name)
        if name.endswith("layers.0.mlp.down_proj.weight"):
            assert isinstance(tensor, Params4bit)
            tensor.quant_state.absmax = tensor.quant_state.absmax * 1.05
        return tensor

    monkeypatch.setattr(packed.Packed, "anew", other)
    check = stock.agrees(said(), LOADER)
    assert not check.passed and "the first 1 of" in check.detail and "does not give" in check.detail


@pytest.mark.parametrize("damage", ["missing", "left over", "norm", "scale"])
def test_damage_is_told(copy: Path, damage: str, tmp_path: Path, bench: Bench) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    changes = {
        "missing": lambda tensors: tensors.pop(name),
        "left over": lambda tensors: tensors.update({"model.layers.9.mlp.up_proj.weight": tensors[name].clone()}),
        "norm": lambda tensors: tensors.update({"model.norm.weight": tensors["model.norm.weight"][:-8].contiguous()}),
        "scale": lambda tensors: tensors[f"{name}.absmax"][5:6].mul_(-1),
    }
    edit_tensors(copy, changes[damage])
    evidence = bench.evidence(copy, tmp_path / "out", format="bitsandbytes", streamed=STREAMED)
    failed = {check.name: check.detail for check in evidence.checks if not check.passed}
    assert failed, evidence.checks
    assert ("weights" if damage == "scale" else "norm" if damage == "norm" else "up_proj") in str(failed), failed
