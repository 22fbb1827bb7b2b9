import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from quantizers.engines.nncf import settings
from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request, Result
from tests.quantizers.models import DEMO, make_llama, request

pytestmark = pytest.mark.xdist_group("nncf")

MODEL = DEMO / "model"
IR = {"engine": "nncf", "format": "openvino", "symmetric": False}
RECIPES = {
    "mixed": IR | {"group_size": 64, "ratio": 0.6, "symmetric": True},
    "int8": IR | {"dtype": "int8", "group_size": -1},
    "nf4": IR | {"dtype": "nf4", "group_size": 64, "symmetric": True},
    "mxfp4": IR | {"dtype": "mxfp4", "group_size": 32, "symmetric": True},
}
TEXT = "Return the absolute value of the argument. The argument may be an integer or a floating point number."


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made")
    run(request(MODEL, **RECIPES), out)
    return out


def test_the_stock_loader_reads_it_and_it_is_close_to_the_original(made):
    from optimum.intel import OVModelForCausalLM

    tokens = AutoTokenizer.from_pretrained(made / "mixed")(TEXT, return_tensors="pt")
    original = AutoModelForCausalLM.from_pretrained(MODEL).float()(**tokens).logits.log_softmax(-1)
    for target, most in (("mixed", 0.05), ("int8", 0.005), ("nf4", 0.03), ("mxfp4", 0.04)):
        model = OVModelForCausalLM.from_pretrained(made / target, local_files_only=True)
        quantized = model(**tokens).logits.log_softmax(-1)
        divergence = (original.exp() * (original - quantized)).sum(-1).mean()
        assert 0 <= divergence < most, (target, divergence)


@pytest.fixture(scope="module")
def aware(tmp_path_factory) -> Path:
    """NNCF's AWQ, scale estimation and GPTQ over a few rows of the demo's calibration text, and nearest beside it."""
    out = tmp_path_factory.mktemp("aware")
    grid = IR | {"group_size": 64}
    recipes = {"nearest": grid, "aware": grid | {"transform": "awq", "range": "mse", "rounding": "compensated"}}
    text = Calibration(documents=DEMO / "calibration.jsonl", samples=8, tokens=96)
    targets = {name: Recipe(**recipe) for name, recipe in recipes.items()}
    run(Request(model=MODEL, targets=targets, calibration=text), out)
    return out


@pytest.mark.slow
def test_what_reads_calibration_text_diverges_less(aware):
    from optimum.intel import OVModelForCausalLM

    text = json.loads((DEMO / "evaluation.jsonl").read_text().splitlines()[0])["text"]
    tokens = AutoTokenizer.from_pretrained(MODEL)(text, return_tensors="pt", truncation=True, max_length=200)
    original = AutoModelForCausalLM.from_pretrained(MODEL).float()(**tokens).logits.log_softmax(-1)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "KV_CACHE_PRECISION": "f32"}

    def divergence(target: str) -> float:
        model = OVModelForCausalLM.from_pretrained(aware / target, local_files_only=True, ov_config=dict(exact))
        quantized = model(**tokens).logits.log_softmax(-1)
        return (original.exp() * (original - quantized)).sum(-1).mean().item()

    assert divergence("aware") < 0.8 * divergence("nearest")


def test_each_choice_of_a_recipe_is_a_choice_of_the_library():
    plain = settings(Recipe(**IR), ())
    assert plain["scale_estimation"] is plain["gptq"] is None
    assert plain["quant_method"] == "default" and plain["sensitivity_metric"] is None
    aware = settings(Recipe(**IR, transform="awq", range="mse", rounding="compensated", ratio=0.8), ())
    assert aware["quant_method"] == "awq" and aware["scale_estimation"] and aware["gptq"]
    assert aware["sensitivity_metric"] == "max_activation_variance"
    assert settings(Recipe(**IR, ratio=0.8), ())["sensitivity_metric"] == "weight_quantization_error"


@pytest.mark.parametrize("choice", [{"transform": "awq"}, {"range": "mse"}, {"rounding": "compensated"}])
def test_choices_read_text_and_are_not_for_int8(choice):
    assert Recipe(**IR, **choice).calibrated and not Recipe(**IR).calibrated
    assert not Recipe(format="openvino", range="mse").calibrated, "ours measures the error of weights"
    with pytest.raises(ValueError, match="rounded to nearest and nothing else"):
        Recipe(**RECIPES["int8"], **choice)


def test_genai_generates_what_the_tokenizer_reads(made):
    import openvino_genai

    pipeline = openvino_genai.LLMPipeline(str(made / "mixed"), "CPU")
    ids = pipeline.get_tokenizer().encode(TEXT, add_special_tokens=False).input_ids.data.tolist()[0]
    assert ids == AutoTokenizer.from_pretrained(MODEL)(TEXT, add_special_tokens=False).input_ids
    assert len(pipeline.generate("Return", max_new_tokens=8, apply_chat_template=False)) > 2


def test_sizes_are_what_the_recipe_implies(made):
    targets = Result.model_validate_json((made / "result.json").read_text()).targets
    assert targets["mixed"].weights_bytes < targets["int8"].weights_bytes
    for each in targets.values():
        assert abs(each.weights_bytes - each.expected_bytes) < 0.05 * each.expected_bytes


@pytest.mark.slow
def test_another_process_writes_the_same_bytes_and_no_place_of_this_machine(made, tmp_path):
    model, out = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(MODEL, model)
    (tmp_path / "request.json").write_text(request(model, int8=RECIPES["int8"]).model_dump_json())
    subprocess.run(
        [sys.executable, "-m", "quantizers", tmp_path / "request.json", out],
        cwd=DEMO.parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    names = sorted(p.name for p in (made / "int8").iterdir())
    assert names == sorted(p.name for p in (out / "int8").iterdir())
    assert filecmp.cmpfiles(made / "int8", out / "int8", names, shallow=False)[1:] == ([], [])
    for path in (out / "int8").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
        assert b"site-packages" not in path.read_bytes()


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(QuantizeError, match="tokenizer"):
        run(request(make_llama(tmp_path / "model"), t=RECIPES["mixed"]), tmp_path / "out")
    assert not (tmp_path / "out/t").exists()


def test_a_damaged_weight_is_found_before_the_export(tmp_path):
    from tests.quantizers.models import edit_tensors

    model = make_llama(tmp_path / "model")
    shutil.copyfile(MODEL / "tokenizer.json", model / "tokenizer.json")
    edit_tensors(model, lambda t: t["model.norm.weight"][3].fill_(torch.nan))
    with pytest.raises(QuantizeError, match=r"model\.norm\.weight"):
        run(request(model, t=RECIPES["mixed"]), tmp_path / "out")


def test_the_settings_leave_nothing_to_the_library(made):
    text = (made / "mixed/openvino_model.xml").read_text()
    for line in (
        '<ratio value="0.6"',
        '<group_size value="64"',
        '<mode value="int4_sym"',
        '<backup_mode value="int8_asym"',
    ):
        assert line in text
    assert "quantization_config" not in json.loads((made / "mixed/config.json").read_text())
    for dtype, stored in (("nf4", 'element_type="nf4"'), ("mxfp4", 'element_type="f4e2m1"')):
        assert stored in (made / dtype / "openvino_model.xml").read_text()
