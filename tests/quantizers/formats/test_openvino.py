"""IR of the streaming engine: the weights of the compressed-tensors artifact, in the graph of optimum-intel."""

import filecmp
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from openvino import opset13 as ops
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    OlmoeConfig,
    OlmoeForCausalLM,
)

from gates.checks.weights import weights
from gates.clients.optimum_intel import Model
from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request, Result
from tests.quantizers.models import DEMO, make_llama, request

pytestmark = pytest.mark.xdist_group("openvino")

MODEL = DEMO / "model"
TEXT = "Return the absolute value of the argument. The argument may be an integer or a floating point number."
BEST = {"group_size": 64, "symmetric": False, "transform": "awq", "range": "mse", "rounding": "compensated"}
MIXED = {"group_size": 32, "overrides": {"*.down_proj": "int8", "*.v_proj": "int4_fullrange"}}
IR = {"format": "openvino"}
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


def calibrated(model: Path, **recipes: dict) -> Request:
    text = Calibration(documents=DEMO / "calibration.jsonl", samples=8, tokens=64)
    return Request(model=model, targets={n: Recipe(**r) for n, r in recipes.items()}, calibration=text)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made")
    run(calibrated(MODEL, best=BEST, best_ir=BEST | IR, mixed_ir=MIXED | IR, mixed=MIXED), out)
    return out


def stock(artifact: Path):
    from optimum.intel import OVModelForCausalLM

    return OVModelForCausalLM.from_pretrained(artifact, local_files_only=True, ov_config=EXACT)


def logits(model, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()


def constants(artifact: Path) -> dict[str, ov.Node]:
    graph = ov.Core().read_model(artifact / "openvino_model.xml")
    operations = [op for op in graph.get_ordered_ops() if op.get_type_name() == "Constant"]
    return {op.get_friendly_name().replace("._openvino_orig_weight", ".weight"): op for op in operations}


def values(node: ov.Node) -> np.ndarray:
    """What OpenVINO reads in a constant."""
    return ov.compile_model(ov.Model([ops.convert(node, ov.Type.f32)], []), "CPU")([])[0].ravel()


@pytest.mark.parametrize(("target", "types"), [("best", {"u4": 28}), ("mixed", {"i4": 24, "i8": 4})])
def test_integers_scales_and_zero_points_are_those_of_the_compressed_tensors_artifact(made, target, types):
    tensors, nodes = load_file(made / target / "model.safetensors"), constants(made / f"{target}_ir")
    widths: Counter[str] = Counter()
    for linear in (name.removesuffix(".weight_packed") for name in tensors if name.endswith("_packed")):
        shape = torch.Size(tensors[f"{linear}.weight_shape"].tolist())
        scale = tensors[f"{linear}.weight_scale"]
        node = nodes[f"self.{linear}.weight"]
        kind = node.get_element_type().to_string()
        bits, offset = int(kind[1]), 0 if kind[0] == "i" else 1 << (int(kind[1]) - 1)
        codes = unpack_from_int32(tensors[f"{linear}.weight_packed"], bits, shape) + offset
        np.testing.assert_array_equal(values(node), codes.flatten())
        np.testing.assert_array_equal(values(nodes[f"self.{linear}.weight/scale"]), scale.float().flatten())
        if kind[0] == "u":
            zero = unpack_from_int32(tensors[f"{linear}.weight_zero_point"], bits, scale.shape, packed_dim=0)
            np.testing.assert_array_equal(values(nodes[f"self.{linear}.weight/zero_point"]), (zero + offset).flatten())
        widths[kind] += 1
    assert widths == types


@pytest.mark.parametrize("target", ["best", "mixed"])
def test_the_stock_loaders_of_both_formats_compute_the_same(made, target):
    ids = AutoTokenizer.from_pretrained(made / target)(TEXT, return_tensors="pt").input_ids
    expected = logits(AutoModelForCausalLM.from_pretrained(made / target, dtype=torch.float32), ids)
    model = stock(made / f"{target}_ir")
    torch.testing.assert_close(logits(model, ids), expected, rtol=0, atol=1e-3)
    loaded = Model(model)
    assert weights(loaded, MODEL).passed, weights(loaded, MODEL).detail


def test_weights_stay_compressed_when_the_plugin_compiles_them(made):
    model = stock(made / "best_ir")
    model.compile()
    nodes = model.request.get_compiled_model().get_runtime_model().get_ordered_ops()
    products = [op for op in nodes if op.get_rt_info()["layerType"].astype(str) == "FullyConnected"]
    held = Counter(
        op.input_value(1).get_node().get_rt_info()["outputPrecisions"].astype(str).lower() for op in products
    )
    assert held == {"u4": 28, "bf16": 1}  # the head, tied to the embeddings, is kept
    # The exporter asks for a cache in float16, for what it takes for an original.
    cache = ov.Core().compile_model(made / "best_ir/openvino_model.xml", "CPU").get_property("KV_CACHE_PRECISION")
    assert cache == ov.Type.u8


def test_sizes_are_what_the_recipe_implies_and_the_record_names_the_recipe(made):
    targets = Result.model_validate_json((made / "result.json").read_text()).targets
    for name in ("best", "mixed"):
        ir, plain = targets[f"{name}_ir"], targets[name]
        assert abs(ir.weights_bytes - plain.weights_bytes) < 0.02 * plain.weights_bytes
        assert abs(ir.weights_bytes - ir.expected_bytes) < 0.02 * ir.expected_bytes
        assert ir.recipe == plain.recipe.model_copy(update=IR) and ir.notes == plain.notes


@pytest.mark.slow
def test_alone_and_in_another_process_and_place_it_comes_out_with_the_same_bytes(made, tmp_path):
    model, out = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(MODEL, model)
    (tmp_path / "request.json").write_text(calibrated(model, alone=BEST | IR).model_dump_json())
    subprocess.run(
        [sys.executable, "-m", "quantizers", tmp_path / "request.json", out],
        cwd=DEMO.parents[1],
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        check=True,
        capture_output=True,
    )
    names = sorted(p.name for p in (made / "best_ir").iterdir())
    assert names == sorted(p.name for p in (out / "alone").iterdir())
    assert filecmp.cmpfiles(made / "best_ir", out / "alone", names, shallow=False)[1:] == ([], [])
    assert sorted(p.name for p in out.iterdir()) == ["alone", "result.json"]
    for path in (out / "alone").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
        assert b"site-packages" not in path.read_bytes()


def with_tokenizer(model: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(MODEL / name, model / name)
    return model


def test_an_untied_head_and_scales_that_float16_cannot_hold(tmp_path):
    model = with_tokenizer(make_llama(tmp_path / "model", dtype=torch.float32))
    recipe = {"dtype": "int8", "group_size": -1, "symmetric": False, "skip": []}
    run(request(model, plain=recipe, ir=recipe | IR), tmp_path / "out")
    tensors, nodes = load_file(tmp_path / "out/plain/model.safetensors"), constants(tmp_path / "out/ir")
    scale = nodes["self.lm_head.weight/scale"]
    assert scale.get_element_type() == ov.Type.f32
    np.testing.assert_array_equal(scale.get_data().ravel(), tensors["lm_head.weight_scale"].flatten())
    ids = torch.arange(3, 60)[None]
    expected = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out/plain"), ids)
    torch.testing.assert_close(logits(stock(tmp_path / "out/ir"), ids), expected, rtol=0, atol=1e-4)


def test_conv1d_which_compressed_tensors_cannot_hold(tmp_path):
    torch.manual_seed(0)
    original = GPT2LMHeadModel(GPT2Config(vocab_size=320, n_embd=64, n_layer=2, n_head=2, n_positions=64)).eval()
    original.save_pretrained(tmp_path / "model")
    with_tokenizer(tmp_path / "model")
    run(request(tmp_path / "model", ir={"dtype": "int8", "group_size": 32} | IR), tmp_path / "out")
    ids = torch.arange(3, 60)[None]
    torch.testing.assert_close(logits(stock(tmp_path / "out/ir"), ids), logits(original, ids), rtol=0, atol=1e-2)


def test_a_model_without_a_tokenizer_is_refused_before_the_pass(tmp_path):
    with pytest.raises(QuantizeError, match="tokenizer"):
        run(request(make_llama(tmp_path / "model"), t={"group_size": 64} | IR), tmp_path / "out")
    assert not (tmp_path / "out/.work").exists()


def test_a_model_type_that_the_exporter_does_not_know_is_refused(tmp_path):
    config = OlmoeConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, num_experts=2, intermediate_size=16)
    OlmoeForCausalLM(config).save_pretrained(tmp_path / "model")
    with pytest.raises(QuantizeError, match="exports no model_type 'olmoe'"):
        run(request(with_tokenizer(tmp_path / "model"), t={"group_size": 16} | IR), tmp_path / "out")


def test_embeddings_and_a_head_tied_to_them_are_stored_in_eight_bits(tmp_path):
    plain = {"group_size": 64} | IR
    result = run(request(MODEL, plain=plain, small=plain | {"embeddings": "int8"}), tmp_path)
    before, after = result.targets["plain"], result.targets["small"]
    assert after.recipe.embeddings == "int8"
    rows, columns = 2048, 256
    assert before.expected_bytes - after.expected_bytes == rows * columns * 2 - rows * (columns + 3)
    assert before.weights_bytes - after.weights_bytes == pytest.approx(
        rows * columns * 2 - rows * (columns + 3), rel=0.01
    )
    original = load_file(MODEL / "model.safetensors")["model.embed_tokens.weight"].float()
    nodes = constants(tmp_path / "small")
    name = next(name for name in nodes if name.endswith("embed_tokens.weight"))
    assert nodes[name].get_element_type() == ov.Type.u8
    codes = torch.from_numpy(values(nodes[name])).view(rows, columns)
    zero, scale = (torch.from_numpy(values(nodes[f"{name}/{part}"])).view(rows, 1) for part in ("zero_point", "scale"))
    off = ((codes - zero) * scale - original).abs() / scale
    assert float(off.max()) <= 1.01 and float(off.mean()) < 0.3, "steps; the zero point's rounding may clip an extreme"
    ids = AutoTokenizer.from_pretrained(MODEL)(TEXT, return_tensors="pt").input_ids
    exact, rounded = (logits(stock(tmp_path / target), ids).log_softmax(-1) for target in ("plain", "small"))
    assert float((exact.exp() * (exact - rounded)).sum(-1).mean()) < 1e-3


@pytest.mark.parametrize(("format", "engine"), [("compressed-tensors", "streaming"), ("openvino", "nncf")])
def test_no_other_loader_reads_quantized_embeddings(format, engine):
    with pytest.raises(ValueError, match="embeddings int8 are for engine streaming with format openvino"):
        Recipe(format=format, engine=engine, embeddings="int8")
