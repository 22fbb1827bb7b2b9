"""Intel's RTN, AWQ and TEQ through the door, held against our own and against what the stock loader computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from quantizers.dtypes import dequantize
from quantizers.engines.neural_compressor import absorbers, codes_of, quantized
from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.families import family_of
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.selection import select_linears
from quantizers.model.skeleton import build
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request

DEMO = Path(__file__).parents[3] / "manifests" / "demo"
INC: dict[str, Any] = {"engine": "neural-compressor", "group_size": 64}
INTEGERS = [(f"int{bits}", symmetric) for bits in (2, 3, 4, 8) for symmetric in (False, True)]


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def logits(directory: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(directory)("Return the number of items of a sequence.", return_tensors="pt")
    with torch.no_grad():
        logs: torch.Tensor = model(**ids).logits.log_softmax(-1)
    return logs


def test_rtn_makes_the_files_of_our_own(tmp_path: Path) -> None:
    """Of a float32 model, whose scales are stored as they are: every integer, scale and zero point is the same."""
    wide = tmp_path / "wide"
    AutoModelForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32).save_pretrained(wide)
    recipes = {}
    for dtype, symmetric in INTEGERS:
        recipe: dict[str, Any] = {"dtype": dtype, "symmetric": symmetric, "group_size": 64}
        recipes[f"{dtype}-{symmetric}-inc"] = Recipe(**recipe, engine="neural-compressor")
        recipes[f"{dtype}-{symmetric}-own"] = Recipe(**recipe)
    run(Request(model=wide, targets=recipes), tmp_path / "out")
    for dtype, symmetric in INTEGERS:
        theirs, mine = (tensors(tmp_path / "out" / f"{dtype}-{symmetric}-{who}") for who in ("inc", "own"))
        assert theirs.keys() == mine.keys()
        assert [name for name, tensor in mine.items() if not torch.equal(tensor, theirs[name])] == []


@pytest.mark.parametrize(
    ("transform", "range_"), [(None, "minmax"), (None, "mse"), ("awq", "minmax"), ("awq", "mse"), ("teq", "minmax")]
)
def test_the_artifact_computes_what_neural_compressor_s_model_does(
    transform: str | None, range_: str, tmp_path: Path
) -> None:
    recipe = Recipe(**INC, transform=transform, range=range_, symmetric=False)  # type: ignore[arg-type]
    calibration = Calibration(documents=DEMO / "calibration.jsonl", samples=2, tokens=32)
    run(Request(model=DEMO / "model", targets={"t": recipe}, calibration=calibration), tmp_path)
    original, artifact = logits(DEMO / "model"), logits(tmp_path / "t")
    divergence = float((original.exp() * (original - artifact)).sum(-1).mean())
    assert 1e-4 < divergence < 0.05
    result = json.loads((tmp_path / "result.json").read_text())
    assert "neural_compressor_pt" in result["tools"]
    norm = "model.layers.0.input_layernorm.weight"
    folded = not torch.equal(tensors(tmp_path / "t")[norm], tensors(DEMO / "model")[norm])
    assert folded == (transform is not None)


@pytest.mark.parametrize("symmetric", [False, True])
def test_codes_and_scales_stand_for_the_weights_that_neural_compressor_recovers(symmetric: bool) -> None:
    checkpoint = open_checkpoint(DEMO / "model")
    skeleton = build(checkpoint)
    for transform, rows in ((None, None), ("awq", torch.arange(64).reshape(2, 32) + 100)):
        recipe = Recipe(**INC, transform=transform, symmetric=symmetric)  # type: ignore[arg-type]
        linears = select_linears(skeleton, recipe, "t")
        model = quantized(skeleton, checkpoint, recipe, linears, rows)
        for name in (linears[0], linears[-1]):
            module = model.get_submodule(name)
            mine = dequantize(codes_of(module, recipe.grid, torch.float32), recipe.grid)
            torch.testing.assert_close(mine, module.recover().float(), rtol=1e-3, atol=1e-6)  # type: ignore[operator]


def test_only_folds_that_it_gets_right_are_handed_over() -> None:
    config = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96}
    names = {
        kind: dict(absorbers(family_of({**config, "model_type": kind, **more})))
        for kind, more in [
            ("llama", {}),
            ("mistral", {"num_key_value_heads": 2}),
            ("phi3", {}),
            ("opt", {}),
        ]
    }
    assert names["llama"]["self_attn.v_proj"] == ("self_attn.o_proj",)
    assert names["llama"]["mlp.up_proj"] == ("mlp.down_proj",)
    assert "self_attn.v_proj" not in names["mistral"]
    assert set(names["phi3"]) == {"input_layernorm", "post_attention_layernorm"}
    assert names["opt"]["fc1"] == ("fc2",)
    gemma = dict(absorbers(family_of({**config, "model_type": "gemma"})))
    assert "input_layernorm" not in gemma


def test_a_family_of_two_stacks_is_refused() -> None:
    with pytest.raises(QuantizeError, match="engine streaming"):
        absorbers(family_of({"model_type": "t5"}))


def test_a_linear_that_is_skipped_stays_as_it_was(tmp_path: Path) -> None:
    recipe = Recipe(**INC, skip=("lm_head", "*.down_proj"))
    run(Request(model=DEMO / "model", targets={"t": recipe}), tmp_path)
    artifact, original = tensors(tmp_path / "t"), tensors(DEMO / "model")
    name = "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(artifact[name], original[name])
    assert "model.layers.1.mlp.up_proj.weight_packed" in artifact
