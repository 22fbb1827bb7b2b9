import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import nncf
import numpy as np
import openvino
import pytest
import torch
from openvino import opset13 as opset
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel

from catalog.engines import ENGINES
from quantizers.engines import nncf_statistics
from quantizers.engines.nncf import settings
from quantizers.engines.nncf_options import NncfOptions
from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.formats.openvino import ir
from quantizers.recipe import Recipe
from quantizers.request import STATISTICS, Calibration, Request, Result
from tests.encoders import SIZES, tokenizer
from tests.quantizers.models import DEMO, make_llama, request

pytestmark = pytest.mark.xdist_group("nncf")

MODEL = DEMO / "model"
IR = {"engine": "nncf", "format": "openvino", "symmetric": False}
RECIPES = {
    "mixed": IR | {"group_size": 64, "ratio": 0.6, "symmetric": True},
    "int8": IR | {"dtype": "int8", "group_size": -1},
    "nf4": IR | {"dtype": "nf4", "group_size": 64, "symmetric": True},
    "mxfp4": IR | {"dtype": "mxfp4", "group_size": 32, "symmetric": True},
    "int3": IR | {"dtype": "int3", "group_size": 64, "symmetric": True, "nncf": {"all_layers": True}},
    "fp4": IR
    | {"dtype": "fp4", "group_size": 512, "symmetric": True, "nncf": {"fallback": "adjust", "backup": "none"}},
}
TEXT_ROWS = Calibration(documents=DEMO / "calibration.jsonl", samples=8, tokens=96)
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
    for target, most in (
        ("mixed", 0.05),
        ("int8", 0.005),
        ("nf4", 0.03),
        ("mxfp4", 0.04),
        ("int3", 0.1),
        ("fp4", 0.05),
    ):
        model = OVModelForCausalLM.from_pretrained(made / target, local_files_only=True)
        quantized = model(**tokens).logits.log_softmax(-1)
        divergence = (original.exp() * (original - quantized)).sum(-1).mean()
        assert 0 <= divergence < most, (target, divergence)


@pytest.fixture(scope="module")
def aware(tmp_path_factory) -> Path:
    """NNCF's AWQ, scale estimation and GPTQ over a few rows of the demo's calibration text, and nearest beside it."""
    out = tmp_path_factory.mktemp("aware")
    grid = IR | {"group_size": 64}
    recipes = {
        "nearest": grid,
        "aware": grid | {"transform": "awq", "range": "mse", "rounding": "compensated"},
        "corrected": grid | {"nncf": {"lora_rank": 16}},
        "ranked": grid | {"ratio": 0.7, "nncf": {"sensitivity": "mean_activation_magnitude", "backup": "int8_sym"}},
    }
    targets = {name: Recipe(**recipe) for name, recipe in recipes.items()}
    run(Request(model=MODEL, targets=targets, calibration=TEXT_ROWS), out)
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

    nearest = divergence("nearest")
    assert divergence("aware") < 0.8 * nearest and divergence("corrected") < nearest > divergence("ranked")


@pytest.mark.slow
def test_its_own_choices_are_in_the_graph(aware, made):
    graph = (aware / "ranked/openvino_model.xml").read_text()
    assert '<sensitivity_metric value="mean_activation_magnitude"' in graph and '<backup_mode value="int8_sym"' in graph
    assert '<lora_correction value="True"' in (aware / "corrected/openvino_model.xml").read_text()
    graph = (made / "fp4/openvino_model.xml").read_text()
    assert '<group_size value="256"' not in graph and 'element_type="f4e2m1" shape="256, 3, 256"' in graph
    assert "KV_CACHE_PRECISION" not in graph


@pytest.mark.slow
def test_what_was_collected_for_others_gives_the_bytes_that_it_gives_alone(aware, tmp_path, monkeypatch):
    """Of four targets of one text, the last reads what was collected with the second."""
    monkeypatch.setattr(Recipe, "shares_statistics", False)
    recipe = Recipe(
        **IR, group_size=64, ratio=0.7, nncf={"sensitivity": "mean_activation_magnitude", "backup": "int8_sym"}
    )
    run(Request(model=MODEL, targets={"ranked": recipe}, calibration=TEXT_ROWS), tmp_path)
    assert (aware / STATISTICS / "result.json").is_file() and not (tmp_path / STATISTICS).exists()
    files = sorted(path.name for path in (aware / "ranked").iterdir())
    assert filecmp.cmpfiles(aware / "ranked", tmp_path / "ranked", files, shallow=False) == (files, [], [])


def test_what_was_collected_over_another_graph_is_refused_and_half_of_it_is_collected_anew(tmp_path):
    def graph(width):
        weight = opset.constant(np.ones((8, width), np.float32))
        read = opset.parameter([-1, -1, width], np.float32, name="input_ids")
        model = openvino.Model([opset.matmul(read, weight, False, True)], [read])
        ir.number(model)
        return model

    rows = [{"input_ids": np.ones((1, 3, 16), np.float32)}]
    (tmp_path / f"{STATISTICS}.part").mkdir()
    (tmp_path / f"{STATISTICS}.part" / "half").touch()
    made = nncf_statistics.collected(graph(16), rows, None, tmp_path / STATISTICS)
    assert made.is_dir() and sorted(path.name for path in tmp_path.iterdir()) == [STATISTICS]
    assert nncf_statistics.collected(graph(16), [], made.parent, tmp_path / "other") == made
    with pytest.raises(AssertionError, match="over another graph"):
        nncf_statistics.collected(graph(32), [], made.parent, tmp_path / "other")


def test_each_choice_of_a_recipe_is_a_choice_of_the_library():
    plain = settings(Recipe(**IR))
    assert plain["awq"] is plain["scale_estimation"] is plain["gptq"] is plain["lora_correction"] is None
    assert plain["sensitivity_metric"] is None and plain["mode"] is nncf.CompressWeightsMode.INT4_ASYM
    aware = settings(Recipe(**IR, transform="awq", range="mse", rounding="compensated", ratio=0.8))
    assert aware["awq"] and aware["scale_estimation"] and aware["gptq"]
    assert aware["sensitivity_metric"].value == "max_activation_variance"
    assert settings(Recipe(**IR, ratio=0.8))["sensitivity_metric"].value == "weight_quantization_error"


@pytest.mark.parametrize(
    ("field", "library"),
    [("sensitivity", nncf.SensitivityMetric), ("backup", nncf.BackupMode), ("fallback", nncf.GroupSizeFallbackMode)],
)
def test_a_recipe_may_say_what_nncf_knows(field, library):
    """What NNCF has besides is in eight-bit floating point, which int8 is smaller and better than."""
    allowed = {
        word for each in get_args(NncfOptions.model_fields[field].annotation) for word in get_args(each) or [each]
    }
    assert allowed - {type(None)} == {each.value for each in library if "fp8" not in each.value}


@pytest.mark.parametrize("dtype", ENGINES["nncf"].dtypes)
def test_every_dtype_is_a_mode_of_nncf(dtype):
    size = ENGINES["nncf"].group_sizes.get(dtype, (64,))[0]
    mode = settings(Recipe(engine="nncf", format="openvino", dtype=dtype, group_size=size))["mode"]
    assert mode.value.removesuffix("_sym") == dtype


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"engine": "streaming"}, "choices of engine nncf"),
        ({"dtype": "int8", "group_size": -1}, "no choices for dtype int8"),
        ({"dtype": "fp4", "symmetric": True}, "for dtype int4 or nf4"),
        ({"rounding": "compensated"}, "corrects by one of them"),
        ({"nncf": {"sensitivity": "max_activation_variance"}}, "give ratio"),
        ({"dtype": "nvfp4", "group_size": 16, "symmetric": True, "nncf": {"fallback": "adjust"}}, "allowed: ignore"),
        ({"nncf": {"backup": "int4"}}, "int8_asym"),
    ],
)
def test_what_nncf_would_ignore_or_refuse_is_refused_before(changes, says):
    with pytest.raises(ValueError, match=says):
        Recipe.model_validate(IR | {"group_size": 64, "nncf": {"lora_rank": 8}} | changes)


def test_what_reads_text():
    reads = {"lora_rank": 4}, {"sensitivity": "hessian_input_activation"}
    assert all(Recipe(**IR, ratio=0.8, nncf=each).calibrated for each in reads)
    assert not Recipe(**IR, ratio=0.8, nncf={"sensitivity": "weight_quantization_error", "all_layers": True}).calibrated


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


def test_what_has_no_part_in_the_task_is_not_implied(tmp_path):
    """The pooler of an encoder, a fifth of this one, is in its checkpoint and not in the graph of its embeddings."""
    words = tokenizer(tmp_path)
    config = {**SIZES, "hidden_size": 512, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": len(words)}
    BertModel(BertConfig(**config)).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    recipe = Recipe(**RECIPES["int8"])
    (made,) = run(
        Request(model=tmp_path, task="feature-extraction", targets={"t": recipe}), tmp_path / "out"
    ).targets.values()
    assert made.weights_bytes == pytest.approx(made.expected_bytes, rel=0.02)


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
