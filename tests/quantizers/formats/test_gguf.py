"""GGUF of the streaming engine: the integers and scales of the compressed-tensors artifact, as llama.cpp computes with them."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from gguf import GGMLQuantizationType, GGUFReader
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from catalog.runtime import RuntimeOptions
from flows.manifest.choosing import bits_per_weight
from gates.checks.weights import weights
from gates.clients import client, transformers, xllamacpp
from gates.evaluation import readers
from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.formats.limits import Facts, refusal
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request
from tests.quantizers.families.tiny_models import make
from tests.quantizers.models import DEMO, edit_json, edit_tensors

pytestmark = pytest.mark.xdist_group("gguf")

ARCHITECTURES = ("llama", "llama-biased", "mistral", "qwen2", "qwen3", "gemma", "phi3")
RECIPES: dict[str, dict[str, Any]] = {
    "Q4_0": {"overrides": {"*.down_proj": "int8", "*.o_proj": "int4_fullrange"}},
    "Q4_1": {"symmetric": False},
}
NEAR = 0.15
"""llama.cpp rounds activations to eight bits, and the noise grows in models of large random weights."""
IDS = torch.arange(48) * 37 % 2000
SIZES = {"hidden_size": 64, "intermediate_size": 96, "vocab_size": 2048, "max_position_embeddings": 512}
TEXTS = [json.loads(line)["text"] for line in (DEMO / "evaluation.jsonl").open()][:20]
WORDS = [
    "don't we'll  two spaces\tand a tab\n\n\na line 1234567 x=3.14; Grüße 你好 🙂",
    "",
    " ",
    "I'M <s> here</s>",
    *TEXTS,
]


def saved(kind: str, directory: Path, dtype: torch.dtype = torch.bfloat16, **changed: Any) -> Path:
    """A tiny random model with the demo's tokenizer; heads are wider than their share of the model where that may be."""
    wide = {"head_dim": 32} if kind.partition("-")[0] in ("llama", "qwen3", "gemma") else {}
    window: dict[str, Any] = {"sliding_window": None} if kind in ("mistral", "phi3") else {}
    make(kind, **SIZES, **wide, **window, **changed).to(dtype).save_pretrained(directory)
    return with_tokenizer(directory)


def with_tokenizer(model: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DEMO / "model" / name, model / name)
    return model


def quantized(model: Path, out: Path, **recipes: dict[str, Any]) -> Path:
    """Each recipe in both formats: `name`, and `name.gguf`."""
    both = {}
    for name, recipe in recipes.items():
        both[name] = Recipe(group_size=32, **recipe)
        both[f"{name}.gguf"] = Recipe(group_size=32, format="gguf", **recipe)
    text = Calibration(documents=DEMO / "calibration.jsonl", samples=8, tokens=64)
    run(Request(model=model, targets=both, calibration=text), out)
    return out


def tensors_of(artifact: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in GGUFReader(artifact / "model.gguf").tensors}


def load(artifact: Path, format_: str = "gguf") -> client.Loaded:
    return client.load(artifact, format_, RuntimeOptions(), "text-generation")


def twin(artifact: Path) -> transformers.Model:
    """The compressed-tensors artifact in float32."""
    return transformers.load(artifact, "transformers.AutoModelForCausalLM", "CPU", dtype=torch.float32)


def off(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


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


TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(pattern: str | None, **options: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**options))
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern is not None:
        from tokenizers import Regex

        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        whole = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.pre_tokenizer, tokenizer.decoder = whole, decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(WORDS * 3, trainer)
    return tokenizer


def pieces(prefix: bool) -> Tokenizer:
    """As Llama 2 and Gemma have it: bytes for what is no piece, and spaces that are written as ▁."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, max_token_length=12)
    tokenizer.train_from_iterator([text.replace(" ", " ") for text in TEXTS], trainer)
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def begun(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


TOKENIZERS = {
    "gpt-2": lambda: byte_level(None),
    "llama-3": lambda: begun(byte_level(LLAMA_3, ignore_merges=True)),
    "qwen2": lambda: byte_level(LLAMA_3.replace("{1,3}", "")),
    "llama-2": lambda: begun(pieces(True)),
    "gemma": lambda: begun(pieces(False)),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_llama_cpp_splits_text_as_the_original_s_tokenizer(name, tmp_path):
    model = saved("llama", tmp_path / "model")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZERS[name](), bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(model)
    run(Request(model=model, targets={"t": Recipe(format="gguf", group_size=32)}), tmp_path)
    original = AutoTokenizer.from_pretrained(model)
    check = xllamacpp.tokenizers(tmp_path / "t", original, WORDS)
    assert check.passed, check.detail
    assert len({token for text in WORDS for token in original(text)["input_ids"]}) > 200
    original.chat_template = TEMPLATE + " "
    assert "chat template" in xllamacpp.tokenizers(tmp_path / "t", original, WORDS).detail
    other = AutoTokenizer.from_pretrained(DEMO / "model")
    assert "splits" in xllamacpp.tokenizers(tmp_path / "t", other, WORDS).detail


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
