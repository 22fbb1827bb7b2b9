"""GGUF of the streaming engine: the integers and scales of the compressed-tensors artifact, as llama.cpp computes with them."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from gguf import GGMLQuantizationType
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from flows.manifest.choosing import bits_per_weight
from gates.checks.weights import weights
from gates.clients import client
from gates.evaluation import readers
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Request
from tests.quantizers.formats.gguf_models import (
    ARCHITECTURES,
    IDS,
    NEAR,
    RECIPES,
    TEXTS,
    load,
    off,
    quantized,
    saved,
    tensors_of,
    twin,
)
from tests.quantizers.models import DEMO, edit_json

pytestmark = pytest.mark.xdist_group("gguf")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def made(request, tmp_path_factory) -> tuple[str, Path]:
    root = tmp_path_factory.mktemp(request.param)
    return request.param, quantized(saved(request.param, root / "model"), root, **RECIPES)


def unpacked(tensor: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes `[rows, columns]`, and both float16 numbers of each block `[rows, blocks]`, written down from ggml's structures."""
    kind = tensor.tensor_type
    width = {GGMLQuantizationType.Q4_0: 18, GGMLQuantizationType.Q4_1: 20, GGMLQuantizationType.Q8_0: 34}[kind]
    block = tensor.data.reshape(len(tensor.data), -1, width)
    numbers = block[..., : 4 if kind == GGMLQuantizationType.Q4_1 else 2].copy().view(np.float16)
    if kind == GGMLQuantizationType.Q8_0:
        codes = block[..., 2:].copy().view(np.int8).astype(int)
    else:
        halves = block[..., numbers.shape[-1] * 2 :].astype(int)
        codes = np.concatenate([halves & 15, halves >> 4], -1) - (8 if kind == GGMLQuantizationType.Q4_0 else 0)
    return codes.reshape(len(block), -1), numbers[..., 0], numbers[..., -1]


NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def neighbours(rows: np.ndarray, name: str, kind: str) -> np.ndarray:
    """Rows of llama.cpp's queries and keys, of two heads or four of 32 or 16 dimensions, in transformers' order."""
    heads = {"self_attn.q_proj": 4, "self_attn.k_proj": 2}.get(name)
    if heads is None or not kind.startswith(("llama", "mistral")):
        return rows
    each = rows.reshape(heads, -1, 2, *rows.shape[1:])
    return np.concatenate([each[:, :, 0], each[:, :, 1]], 1).reshape(rows.shape)


@pytest.mark.parametrize("recipe", RECIPES)
def test_integers_scales_and_zero_points_are_those_of_the_compressed_tensors_artifact(made, recipe):
    kind, root = made
    plain, own = load_file(root / recipe / "model.safetensors"), tensors_of(root / f"{recipe}.gguf")
    types = set()
    for linear in (name.removesuffix(".weight_packed") for name in plain if name.endswith("_packed")):
        _, _, layer, name = linear.split(".", 3)
        tensor = own[f"blk.{layer}.{NAMES[name]}.weight"]
        types.add(tensor.tensor_type.name)
        shape = torch.Size(plain[f"{linear}.weight_shape"].tolist())
        bits = 8 if tensor.tensor_type.name == "Q8_0" else 4
        scale = plain[f"{linear}.weight_scale"].float().numpy()
        codes, d, m = (neighbours(each, name, kind) for each in unpacked(tensor))
        stored = unpack_from_int32(plain[f"{linear}.weight_packed"], bits, shape).numpy()
        np.testing.assert_array_equal(d.astype(np.float32), scale)
        if recipe == "Q4_1":
            zero = unpack_from_int32(plain[f"{linear}.weight_zero_point"], 4, torch.Size(scale.shape), packed_dim=0)
            np.testing.assert_array_equal(np.rint(-m.astype(float) / scale), zero.numpy() + 8)
            np.testing.assert_array_equal(m, (-scale * (zero.numpy() + 8)).astype(np.float16))
            stored = stored + 8
        np.testing.assert_array_equal(codes, stored)
    assert types == ({"Q4_0", "Q8_0"} if recipe == "Q4_0" else {"Q4_1"})


@pytest.mark.parametrize("recipe", RECIPES)
def test_llama_cpp_computes_what_the_stock_model_does_with_these_weights(made, recipe):
    _, root = made
    artifact = root / f"{recipe}.gguf"
    loaded = load(artifact)
    assert not loaded.faults
    assert off(loaded.logits(IDS), twin(root / recipe).logits(IDS)) < NEAR
    check = weights(loaded, root / "model")
    assert check.passed, check.detail
    linears = sum(
        "proj" in name and name.endswith("_packed") for name in load_file(root / recipe / "model.safetensors")
    )
    assert int(check.detail.split()[0]) >= linears
    (answer,) = loaded.generate(IDS[None, :8], 5, through_ends=True)
    assert len(answer) == 5


@pytest.mark.parametrize("recipe", RECIPES)
def test_transformers_reads_the_same_weights_from_it(made, recipe):
    kind, root = made
    artifact = root / f"{recipe}.gguf"
    stock = partial(AutoModelForCausalLM.from_pretrained, artifact, gguf_file="model.gguf", dtype=torch.float32)
    if kind == "gemma":
        with pytest.raises(ValueError, match="not supported"):
            stock()
        return
    # By its own configuration it knows no mistral; without one it takes it for a llama.
    model = stock() if kind == "mistral" else stock(config=AutoConfig.from_pretrained(artifact))
    expected = twin(root / recipe).logits(IDS)
    with torch.no_grad():
        logits = model(IDS[None]).logits[0]
    assert off(logits, expected) < (1e-5 if recipe == "Q4_0" else 5e-3)


SCALED: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("llama", {"factor": 4.0}),
    "llama3": (
        "llama",
        {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
    ),
    "yarn": ("qwen2", {"factor": 4.0, "original_max_position_embeddings": 32}),
    "longrope": (
        "phi3",
        {
            "short_factor": [1.0 + 0.1 * n for n in range(8)],
            "long_factor": [2.0 + 0.5 * n for n in range(8)],
            "original_max_position_embeddings": 512,
        },
    ),
}


@pytest.mark.parametrize("scaling", SCALED)
def test_scaled_positions(scaling, tmp_path):
    kind, rope = SCALED[scaling]
    sizes = {"max_position_embeddings": 2048, "original_max_position_embeddings": 512} if scaling == "longrope" else {}
    model = saved(kind, tmp_path / "model")
    parameters = {"rope_type": scaling, "rope_theta": 10000.0, **rope}
    edit_json(model / "config.json", lambda config: config.update(sizes | {"rope_parameters": parameters}))
    quantized(model, tmp_path, t={})
    ids = torch.arange(400) * 37 % 2000
    expected = twin(tmp_path / "t").logits(ids)
    logits = load(tmp_path / "t.gguf").logits(ids)
    assert off(logits, expected) < NEAR
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    edit_json(tmp_path / "t" / "config.json", lambda config: config.update(rope_parameters=plain))
    assert off(logits, twin(tmp_path / "t").logits(ids)) > 3 * off(logits, expected), "the scaling matters"


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    best = {"symmetric": False, "transform": "awq", "rounding": "compensated"}
    return quantized(DEMO / "model", tmp_path_factory.mktemp("demo"), Q4_0={}, best=best, Q8_0={"dtype": "int8"})


@pytest.fixture(scope="module")
def texts() -> list[torch.Tensor]:
    tokenizer = readers.load(DEMO / "model", "text-generation").tokenizer
    return [torch.tensor(tokenizer(text)["input_ids"][:256]) for text in TEXTS[:16]]


@pytest.mark.parametrize("recipe", ["Q4_0", "best"])
def test_the_divergence_of_the_trained_model_is_that_of_the_compressed_tensors_twin(demo, texts, recipe):
    original = client.load_original(DEMO / "model", "text-generation")
    sides = [load(demo / recipe, "compressed-tensors")]
    sides.append(load(demo / f"{recipe}.gguf"))
    divergences = [0.0, 0.0]
    for row in texts:
        expected = original.logits(row).log_softmax(-1)
        for number, side in enumerate(sides):
            logprobs = side.logits(row).float().log_softmax(-1)
            divergences[number] += float((expected.exp() * (expected - logprobs)).sum())
    assert divergences[1] == pytest.approx(divergences[0], rel=0.02)


def test_the_record_and_the_sizes(demo):
    result = json.loads((demo / "result.json").read_text())["targets"]
    for name in ("Q4_0", "best", "Q8_0"):
        own, plain = result[f"{name}.gguf"], result[name]
        assert own["weights_bytes"] == own["expected_bytes"] == (demo / f"{name}.gguf" / "model.gguf").stat().st_size
        assert own["recipe"] == plain["recipe"] | {"format": "gguf"} and own["notes"] == plain["notes"]
        blocks = [tensor for key, tensor in tensors_of(demo / f"{name}.gguf").items() if "attn_v.weight" in key]
        stored = 8 * sum(int(tensor.n_bytes) for tensor in blocks) / sum(int(tensor.n_elements) for tensor in blocks)
        assert bits_per_weight(Recipe.model_validate(own["recipe"])) == stored
    assert not list((demo / "best.gguf").glob("*.safetensors"))
    assert str(demo) not in (demo / "best.gguf" / "config.json").read_text()


def test_it_comes_out_with_the_same_bytes(demo, tmp_path):
    run(Request(model=DEMO / "model", targets={"t": Recipe(format="gguf", group_size=32)}), tmp_path)
    for file in (demo / "Q4_0.gguf").iterdir():
        assert file.read_bytes() == (tmp_path / "t" / file.name).read_bytes(), file.name


def test_scales_that_float16_cannot_hold_are_rounded_and_told(tmp_path):
    model = saved("qwen2", tmp_path / "model", torch.float32)
    out = quantized(model, tmp_path, t={})
    (note,) = json.loads((out / "result.json").read_text())["targets"]["t.gguf"]["notes"]
    assert "scales are rounded to float16" in note
    assert off(load(out / "t.gguf").logits(IDS), twin(out / "t").logits(IDS)) < NEAR


def test_a_sliding_window_that_llama_cpp_does_not_have_bounds_the_context(tmp_path):
    model = saved("mistral", tmp_path / "model")
    edit_json(model / "config.json", lambda config: config.update(sliding_window=128))
    out = quantized(model, tmp_path, t={})
    assert load(out / "t.gguf").context == 128
    assert "context_length is 128 of 512" in (out / "result.json").read_text()
