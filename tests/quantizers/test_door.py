import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from quantizers.dtypes import dequantize, grouped
from quantizers.entrypoint import run
from quantizers.parts import RANGES
from quantizers.recipe import Recipe
from quantizers.request import Result
from quantizers.rounding.nearest import nearest
from tests.quantizers.models import DEMO, make_llama, request

BNB = {"format": "bitsandbytes", "group_size": 64}
RECIPES: dict[str, dict[str, Any]] = {
    "int2": {"dtype": "int2", "group_size": 32},
    "int3a": {"dtype": "int3", "group_size": 64, "symmetric": False},
    "int4": {"group_size": 64},
    "int4a": {"group_size": 32, "symmetric": False},
    "int4-channel": {"group_size": -1, "symmetric": False},
    "int8": {"dtype": "int8", "group_size": -1},
    "int8a": {"dtype": "int8", "group_size": 64, "symmetric": False},
    "full": {"dtype": "int4_fullrange", "group_size": 64},
    "clip": {"dtype": "int4_clip", "group_size": 64, "range": "mse"},
    "nf4": BNB | {"dtype": "nf4"},
    "fp4": BNB | {"dtype": "fp4_bnb", "range": "mse"},
    "skip": {"group_size": 64, "skip": ["lm_head", "*.down_proj", "model.layers.1.self_attn.*"]},
    "head": {"group_size": 64, "skip": []},
    "mixed": {
        "group_size": 64,
        "symmetric": False,
        "overrides": {"*.q_proj": "int8", "model.layers.1.mlp.down_proj": "int3", "model.layers.0.mlp.*": "int2"},
    },
}


def same(one: Path, other: Path) -> bool:
    mine, theirs = (sorted(p.relative_to(d) for p in d.rglob("*") if p.is_file()) for d in (one, other))
    return mine == theirs and filecmp.cmpfiles(one, other, mine, shallow=False)[1:] == ([], [])


def weights_of(artifact: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(artifact)
    model(torch.zeros(1, 2, dtype=torch.long))  # compressed-tensors unpacks at the first call
    weights = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is not None and hasattr(weight, "quant_state"):
            from bitsandbytes.functional import dequantize_4bit

            weight = dequantize_4bit(weight.data, weight.quant_state)
        if weight is not None:
            weights[f"{name}.weight"] = weight.detach()
    return weights


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float16])
def test_the_stock_loader_sees_the_weights_our_codes_stand_for(tmp_path, dtype):
    model = make_llama(tmp_path / "model", dtype=dtype)
    original = load_file(model / "model.safetensors")
    result = run(request(model, **RECIPES), tmp_path / "out")
    for target, recipe in ((name, Recipe(**fields)) for name, fields in RECIPES.items()):
        loaded = weights_of(tmp_path / "out" / target)
        assert loaded.keys() == original.keys()
        stored = torch.float32 if recipe.format == "bitsandbytes" else dtype
        changed, recipes = 0, recipe.of(name.removesuffix(".weight") for name in original)
        for name, weight in original.items():
            if torch.equal(loaded[name], weight):
                continue
            changed += 1
            grid = recipes[name.removesuffix(".weight")].grid
            groups = grouped(weight.float(), recipe.group_size)
            scale, zero = RANGES[recipe.range](groups, grid, stored)
            q = nearest(weight.float(), scale, zero, grid, recipe.group_size)
            expected = dequantize(q, grid).to(dtype)
            torch.testing.assert_close(loaded[name], expected, rtol=torch.finfo(dtype).eps, atol=1e-7)
        assert changed == result.targets[target].quantized == {"skip": 8, "head": 15}.get(target, 14)


def test_result_tells_sizes_and_tools(llama, tmp_path):
    result = run(request(llama, int4=RECIPES["int4"], nf4=RECIPES["nf4"]), tmp_path / "out")
    assert Result.model_validate_json((tmp_path / "out/result.json").read_text()) == result
    for target, made in result.targets.items():
        tensors = load_file(tmp_path / "out" / target / "model.safetensors")
        assert made.weights_bytes == made.expected_bytes == sum(t.nbytes for t in tensors.values())
        assert made.kept == 7
    assert result.tools["torch"] == torch.__version__.split("+")[0] or result.tools["torch"] == torch.__version__
    assert result.compute.startswith("float32")
    assert not (tmp_path / "out/.work").exists()


def test_tied_embeddings_stay_tied(tied, tmp_path):
    run(request(tied, int4=RECIPES["int4"]), tmp_path / "out")
    assert "lm_head.weight" not in load_file(tmp_path / "out/int4/model.safetensors")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out/int4")
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_shards_in_and_shards_out_change_no_bit(tmp_path, monkeypatch):
    monkeypatch.setattr("quantizers.model.checkpoint.CHUNK", 4096)
    one, many = make_llama(tmp_path / "one"), make_llama(tmp_path / "many", shard="100KB")
    assert len(list(many.glob("*.safetensors"))) > 3
    run(request(one, **{k: RECIPES[k] for k in ("int4a", "int3a", "nf4")}), tmp_path / "a")
    monkeypatch.setattr("quantizers.model.checkpoint.CHUNK", 1 << 22)
    run(request(many, **{k: RECIPES[k] for k in ("int4a", "int3a", "nf4")}), tmp_path / "b")
    for target in ("int4a", "int3a", "nf4"):
        assert same(tmp_path / "a" / target, tmp_path / "b" / target)
    monkeypatch.setattr("quantizers.artifact.weights.SHARD_BYTES", 60_000)
    run(request(one, int4a=RECIPES["int4a"]), tmp_path / "c")
    assert len(list((tmp_path / "c/int4a").glob("model-*-of-*.safetensors"))) > 2
    whole, parts = weights_of(tmp_path / "a/int4a"), weights_of(tmp_path / "c/int4a")
    assert all(torch.equal(whole[name], parts[name]) for name in whole | parts)


def test_a_target_is_the_same_alone_and_among_others(llama, tmp_path):
    run(request(llama, **RECIPES), tmp_path / "all")
    run(request(llama, int4a=RECIPES["int4a"]), tmp_path / "alone")
    assert same(tmp_path / "all/int4a", tmp_path / "alone/int4a")


def test_the_command_writes_a_complete_artifact_that_names_no_place(tmp_path):
    out, wanted = tmp_path / "out", tmp_path / "request.json"
    model = tmp_path / "model"
    model.mkdir()
    for file in (DEMO / "model").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text()) | {"_name_or_path": str(model)}
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Model"}
    (model / "config.json").write_text(json.dumps(config))
    (model / "chat_template.jinja").write_text("{{ messages }}")
    wanted.write_text(request(model, int4=RECIPES["int4"]).model_dump_json())
    done = subprocess.run(
        [sys.executable, "-m", "quantizers", wanted, out],
        cwd=DEMO.parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [json.loads(line)["progress"] for line in done.stdout.splitlines() if line.startswith('{"progress"')]
    assert lines[-1]["done"] == lines[-1]["total"] > 10
    assert "model.layers.3.mlp.down_proj.weight" in "".join(line["what"] for line in lines)
    held = {p.name for p in (out / "int4").iterdir()}
    assert held == {p.name for p in model.iterdir()} - {"README.md"}
    assert not [p for p in (out / "int4").iterdir() if str(tmp_path).encode() in p.read_bytes()]
    written = (out / "int4/config.json").read_text()
    assert "_name_or_path" not in written and "auto_map" not in written
