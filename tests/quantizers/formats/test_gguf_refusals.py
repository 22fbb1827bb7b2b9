"""What no GGUF file holds, or llama.cpp does not compute, is refused before the work."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.formats.limits import Facts, refusal
from quantizers.recipe import Recipe
from quantizers.request import Request
from tests.quantizers.families.tiny_models import make
from tests.quantizers.formats.gguf_models import (
    saved,
    with_tokenizer,
)
from tests.quantizers.models import edit_json, edit_tensors

pytestmark = pytest.mark.xdist_group("gguf")


def unigram(model: Path) -> None:
    state = json.loads((model / "tokenizer.json").read_text())
    state["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]], "byte_fallback": False}
    (model / "tokenizer.json").write_text(json.dumps(state))


def digits(model: Path) -> None:
    edit_json(model / "tokenizer.json", lambda state: state.update(pre_tokenizer={"type": "Whitespace"}))


def config(**changed: Any) -> Any:
    return lambda model: edit_json(model / "config.json", lambda config: config.update(changed))


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("gpt_neox", lambda model: None, "holds model types gemma, llama, mistral, phi3, qwen2, qwen3"),
        ("llama", config(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}), "by 'dynamic'"),
        ("llama", config(hidden_act="gelu"), "has activation silu"),
        ("llama", unigram, "type 'Unigram'"),
        ("llama", digits, "splits text in a way"),
        ("llama", lambda model: (model / "tokenizer.json").unlink(), "read from tokenizer.json"),
        ("qwen3", config(attention_bias=True), "no biases in its attention"),
    ],
)
def test_what_llama_cpp_does_not_compute_is_refused_before_the_pass(kind, change, words, tmp_path):
    model = saved(kind, tmp_path / "model") if kind != "gpt_neox" else tmp_path / "model"
    if kind == "gpt_neox":
        make(kind, hidden_size=64).save_pretrained(model)
        with_tokenizer(model)
    change(model)
    if "attention_bias" in words or "biases" in words:
        edit_tensors(model, lambda tensors: tensors.update(biases(tensors)))
    with pytest.raises(QuantizeError, match=words) as refused:
        run(Request(model=model, targets={"t": Recipe(format="gguf", group_size=32)}), tmp_path / "out")
    assert "Use format compressed-tensors" in str(refused.value)
    assert not (tmp_path / "out" / ".work").exists()


def biases(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    attention = [name for name in tensors if "self_attn" in name and name.endswith("_proj.weight")]
    return {
        name.replace(".weight", ".bias"): torch.zeros(len(tensors[name]), dtype=torch.bfloat16) for name in attention
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"group_size": 64}, "which holds 32"),
        ({"dtype": "int8", "symmetric": False}, "no zero point there"),
        ({"dtype": "int3"}, "cannot hold dtype int3"),
    ],
)
def test_recipes_that_no_block_holds(fields, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**{"format": "gguf", "group_size": 32, **fields})


def test_a_task_that_its_client_has_no_part_in_is_refused():
    facts = Facts(None, {"model_type": "llama"}, {}, {}, "feature-extraction", True)
    assert "used for no feature extraction" in str(refusal("gguf", facts))
