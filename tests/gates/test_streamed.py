"""An original that is larger than the memory it is given: the same figures, read from its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from bench.tiny import shrunk
from gates import entrypoint
from gates.clients import streamed
from gates.clients.client import Loaded, load_original
from gates.clients.stored import StoredTensors
from gates.evaluation.baseline import read_activations
from gates.evaluation.probes import Probes
from gates.request import BaselineRequest, Evaluation
from gates.results import Baseline
from tests.gates.conftest import TOKENS, Bench

TASK = "text-generation"
TYPES = (
    "llama",
    "qwen2",
    "gemma",
    "phi3",
    "gpt2",
    "opt",
    "gpt_neox",
    "bloom",
    "mixtral",
    "qwen3_moe",
    "mamba",
    "llama4_text",
)


def rows(lengths: tuple[int, ...], vocabulary: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(vocabulary, (length,), generator=generator) for length in lengths]


def says_the_same(whole: Loaded, read: Loaded, monkeypatch: pytest.MonkeyPatch, rtol: float, atol: float) -> None:
    """Hold logits of what is read from its files against those of the same in memory, some rows at a time and one again."""
    assert whole.is_whole and not read.is_whole and not read.faults
    monkeypatch.setattr(streamed, "STREAMED_TOKENS", 24)
    given = rows((9, 11, 5, 12, 3), whole.model.config.vocab_size)
    read.expect(given)
    for ids in (*given, given[1]):
        torch.testing.assert_close(read.logits(ids), whole.logits(ids), rtol=rtol, atol=atol)


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("hold_bytes", [0, 40_000])
def test_logits_are_those_of_the_whole_model(
    model_type: str, hold_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(shrunk(model_type)).save_pretrained(path)
    whole, read = (load_original(path, TASK, hold) for hold in (None, hold_bytes))
    says_the_same(whole, read, monkeypatch, rtol=1e-4, atol=1e-5)


def test_weights_stay_in_the_files(bench: Bench) -> None:
    loaded = load_original(bench.model, TASK, 0)
    assert not in_memory(loaded)
    loaded.logits(torch.arange(8))
    assert not in_memory(loaded)


def test_the_baseline_is_that_of_the_whole_model(bench: Bench, tmp_path: Path) -> None:
    asked = BaselineRequest(
        model=bench.model, evaluation=Evaluation(documents=bench.evaluation, tokens=TOKENS), hold_bytes=1_000_000
    )
    tmp_path.joinpath("out").mkdir()
    result = entrypoint.run(asked, tmp_path / "out")
    assert isinstance(result, Baseline)
    whole = Baseline.model_validate_json((bench.baseline / "result.json").read_bytes())
    assert result == whole
    ours, theirs = (read_activations(each) for each in (tmp_path / "out", bench.baseline))
    assert ours and theirs and ours.layer == theirs.layer and ours.largest == pytest.approx(theirs.largest, rel=1e-4)
    for file in ("documents/000003.safetensors", "chat/000001.safetensors", "long.safetensors"):
        ours, theirs = (load_file(each / file) for each in (tmp_path / "out", bench.baseline))
        torch.testing.assert_close(ours["loss"], theirs["loss"], rtol=1e-4, atol=1e-5)
    probes = Probes.model_validate_json((tmp_path / "out" / "probes.json").read_bytes())
    assert probes.greedy is None and all(len(text) == 48 for text in probes.sampled)
    evidence = bench.evidence(bench.artifact, tmp_path / "evidence", baseline=tmp_path / "out")
    assert all(check.passed for check in evidence.checks), evidence.checks
    assert evidence.samples[0].original is None and evidence.samples[0].artifact


def in_memory(loaded: Loaded) -> list[str]:
    """Names of weights that take memory: what only says where it will be takes that of one number."""
    real = {name: each for name, each in loaded.model.named_parameters() if each.device.type != "meta"}
    return [name for name, each in real.items() if each.untyped_storage().nbytes() > each.element_size()]


def damaged(bench: Bench, path: Path, damage: str) -> Loaded:
    path.mkdir()
    for file in bench.model.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(path / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    if damage == "missing":
        del tensors[name]
    elif damage == "left over":
        tensors["model.layers.9.mlp.up_proj.weight"] = tensors[name].clone()
    else:
        tensors[name] = tensors[name][:-8].contiguous()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return load_original(path, TASK, 0)


@pytest.mark.parametrize("damage", ["missing", "left over", "short"])
def test_what_does_not_fit_is_told_in_the_words_of_a_whole_load(bench: Bench, damage: str, tmp_path: Path) -> None:
    read = damaged(bench, tmp_path / "model", damage)
    assert read.faults == load_original(tmp_path / "model", TASK).faults
    assert "up_proj" in read.faults[0]


def test_tied_weights_are_held_once(bench: Bench) -> None:
    config = json.loads((bench.model / "config.json").read_text())
    assert config["tie_word_embeddings"]
    read = load_original(bench.model, TASK, 1 << 40)
    read.logits(torch.arange(8))
    weights = read.model.lm_head._hf_hook.weights_map.dataset
    assert set(weights._held) == set(StoredTensors(bench.model))


def test_shards_are_closed_after_a_while(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gates.clients.stored.MAPPED", 0)
    stored = StoredTensors(bench.model)
    whole = load_file(bench.model / "model.safetensors")
    for name in stored:
        torch.testing.assert_close(stored[name], whole[name])
        assert not stored._open
