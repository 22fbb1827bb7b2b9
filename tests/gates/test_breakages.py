"""Ways to break an artifact that have happened to somebody: each is caught, and the verdict names what caught it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.gates.artifacts import Tensors, edit_json, edit_tensors, quantize
from tests.gates.conftest import TEMPLATE, Bench

BLOCK = "model.layers.{}."


def zeroed_block(artifact: Path) -> None:
    def change(tensors: Tensors) -> None:
        for name in tensors:
            if name.startswith(BLOCK.format(1)) and name.endswith("_scale"):
                tensors[name].zero_()

    edit_tensors(artifact, change)


def swapped_layers(artifact: Path) -> None:
    def change(tensors: Tensors) -> None:
        for name in [name for name in tensors if name.startswith(BLOCK.format(1))]:
            other = name.replace(BLOCK.format(1), BLOCK.format(2))
            tensors[name], tensors[other] = tensors[other], tensors[name]

    edit_tensors(artifact, change)


def wrong_zero_point(artifact: Path) -> None:
    edit_tensors(artifact, lambda t: t["model.layers.2.mlp.down_proj.weight_zero_point"].zero_())


def flipped_scale(artifact: Path) -> None:
    edit_tensors(artifact, lambda t: t["model.layers.0.self_attn.q_proj.weight_scale"][5, 1].neg_())


def underflown_scale(artifact: Path) -> None:
    edit_tensors(artifact, lambda t: t["model.layers.3.self_attn.v_proj.weight_scale"][7].zero_())


def not_a_number(artifact: Path) -> None:
    edit_tensors(artifact, lambda t: t["model.layers.3.mlp.up_proj.weight_scale"][0, 0].fill_(torch.nan))


def not_a_number_in_norm(artifact: Path) -> None:
    edit_tensors(artifact, lambda t: t["model.norm.weight"][3].fill_(torch.nan))


def truncated_tokenizer(artifact: Path) -> None:
    def change(stored: dict) -> dict:
        vocabulary = stored["model"]["vocab"]
        kept = {token: index for token, index in vocabulary.items() if index < len(vocabulary) - 200}
        merges = [pair for pair in stored["model"]["merges"] if "".join(pair) in kept]
        return stored | {"model": stored["model"] | {"vocab": kept, "merges": merges}}

    edit_json(artifact / "tokenizer.json", change)


def wrong_chat_template(artifact: Path) -> None:
    wrong = TEMPLATE.replace("[{{ m.role }}]", "<|{{ m.role }}|>")
    edit_json(artifact / "tokenizer_config.json", lambda config: config | {"chat_template": wrong})


def lost_special_token(artifact: Path) -> None:
    edit_json(artifact / "tokenizer_config.json", lambda config: config | {"eos_token": "<s>"})


def no_quantization_config(artifact: Path) -> None:
    edit_json(artifact / "config.json", lambda config: {k: v for k, v in config.items() if k != "quantization_config"})


def unknown_quantization(artifact: Path) -> None:
    def change(config: dict) -> dict:
        return config | {"quantization_config": config["quantization_config"] | {"quant_method": "intel/inc"}}

    edit_json(artifact / "config.json", change)


def mislabelled_group(size: int) -> Callable[[Path], None]:
    def change(config: dict) -> dict:
        config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] = size
        return config

    return lambda artifact: edit_json(artifact / "config.json", change)


def other_rotary_base(artifact: Path) -> None:
    def change(config: dict) -> dict:
        return config | {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}

    edit_json(artifact / "config.json", change)


def pickled_weights(artifact: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, artifact / "pytorch_model.bin")


def torn_file(artifact: Path) -> None:
    path = artifact / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def left_over_tensor(artifact: Path) -> None:
    edit_tensors(artifact, lambda t: t.update({"model.layers.9.mlp.down_proj.weight": torch.zeros(4, 4)}))


def missing_tensor(artifact: Path) -> None:
    edit_tensors(artifact, lambda t: t.pop("model.layers.1.input_layernorm.weight"))


def doubled_weights(artifact: Path) -> None:
    tensors = load_file(artifact / "model.safetensors")
    for number, names in enumerate((list(tensors)[:5], list(tensors)), 1):
        save_file(
            {n: tensors[n] for n in names}, artifact / f"model-{number:05d}-of-00002.safetensors", {"format": "pt"}
        )
    (artifact / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "model-00002-of-00002.safetensors")}
    (artifact / "model.safetensors.index.json").write_text(json.dumps(index))


def code_of_its_own(artifact: Path) -> None:
    edit_json(artifact / "config.json", lambda c: c | {"auto_map": {"AutoModelForCausalLM": "modeling.Model"}})


BREAKAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a zeroed block": (zeroed_block, "sanity.weights"),
    "swapped layers": (swapped_layers, "sanity.weights"),
    "wrong zero point": (wrong_zero_point, "divergence"),
    "one flipped sign of a scale": (flipped_scale, "sanity.weights"),
    "scales underflown to zero": (underflown_scale, "sanity.weights"),
    "a NaN scale": (not_a_number, "sanity.weights"),
    "a NaN outside the linears": (not_a_number_in_norm, "sanity.finite"),
    "truncated tokenizer": (truncated_tokenizer, "sanity.tokenizer"),
    "wrong chat template": (wrong_chat_template, "sanity.chat-template"),
    "lost special token": (lost_special_token, "sanity.special-tokens"),
    "quantization_config removed": (no_quantization_config, "sanity.files"),
    "a quantization nobody knows": (unknown_quantization, "sanity.files"),
    "group size labelled half": (mislabelled_group(32), "sanity.weights"),
    "group size labelled double": (mislabelled_group(128), "sanity.weights"),
    "another rotary base": (other_rotary_base, "sanity.config"),
    "a pickle": (pickled_weights, "sanity.files"),
    "a torn file": (torn_file, "sanity.files"),
    "a left-over tensor": (left_over_tensor, "sanity.loads"),
    "a missing tensor": (missing_tensor, "sanity.loads"),
    "weights stored twice": (doubled_weights, "sanity.files"),
    "code of its own": (code_of_its_own, "sanity.files"),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_breakage_is_caught_by_name(name: str, bench: Bench, copy: Path, tmp_path: Path) -> None:
    breaks, catcher = BREAKAGES[name]
    breaks(copy)
    verdict = bench.verdict(copy, tmp_path / "out")
    assert verdict.outcome == "failed"
    assert catcher in [
        gate.name for gate in verdict.gates if gate.outcome == "failed" and "not reached" not in gate.sentence
    ]
    assert catcher in verdict.sentence


def test_sound_artifact_passes(bench: Bench, tmp_path: Path) -> None:
    verdict = bench.verdict(bench.artifact, tmp_path)
    assert verdict.passed, verdict.sentence


def test_weights_of_another_model(bench: Bench, tmp_path: Path) -> None:
    """Same architecture and names, every number plausible."""

    def another(tensors: Tensors) -> Tensors:
        generator = torch.Generator().manual_seed(0)
        return {
            name: torch.randn(t.shape, generator=generator).to(t.dtype) * t.float().std() if t.ndim > 1 else t
            for name, t in tensors.items()
        }

    verdict = bench.verdict(quantize(bench.model, tmp_path / "artifact", another), tmp_path / "out")
    assert {"divergence", "sanity.weights"} <= {gate.name for gate in verdict.gates if gate.outcome == "failed"}


def test_old_revision(bench: Bench, tmp_path: Path) -> None:
    """Weights close to the original's, as those of a revision before it: only the text tells."""

    def earlier(tensors: Tensors) -> Tensors:
        generator = torch.Generator().manual_seed(0)
        return {
            name: (t + 0.3 * t.float().std() * torch.randn(t.shape, generator=generator)).to(t.dtype)
            if t.ndim > 1
            else t
            for name, t in tensors.items()
        }

    verdict = bench.verdict(quantize(bench.model, tmp_path / "artifact", earlier), tmp_path / "out")
    assert "divergence" in [gate.name for gate in verdict.gates if gate.outcome == "failed"]
    assert "sanity.weights" not in [gate.name for gate in verdict.gates if gate.outcome == "failed"]
