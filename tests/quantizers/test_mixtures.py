"""Mixtures of experts: each expert rounded by the tokens it read, or kept where the stock loader reads none quantized."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PhimoeConfig, PhimoeForCausalLM

from bench import tiny
from catalog.runtime import RuntimeOptions
from gates.checks.weights import weights
from gates.clients import client
from gates.clients.optimum_intel import Model
from quantizers.artifact.target import starved
from quantizers.entrypoint import answer, run
from quantizers.errors import QuantizeError
from quantizers.recipe import Recipe
from quantizers.request import Calibration, SensitivityRequest
from tests.quantizers.families.tiny_models import DECODER
from tests.quantizers.formats.test_openvino import constants, stock, values, with_tokenizer
from tests.quantizers.models import DEMO, edit_json, edit_tensors
from tests.quantizers.test_architectures import BOTH, INT8, NF4, error, load, logits, save
from tests.quantizers.test_architectures import request as asked

pytestmark = pytest.mark.xdist_group("mixtures")
MIXTURES = ("mixtral", "qwen2_moe", "qwen2_moe-mixed", "qwen3_moe")
IR = {"format": "openvino", "group_size": 8}
IDS = torch.arange(2 * 20).view(2, 20) * 7 % 61 + 1


NF4_HERE = NF4 | {"skip": ("lm_head", "*.down_proj")}
"""Their inner sizes do not divide into groups of 32."""


def notes(out: Path, target: str) -> tuple[str, ...]:
    return json.loads((out / "result.json").read_text())["targets"][target]["notes"]


@pytest.mark.parametrize("name", MIXTURES)
def test_experts_that_the_loader_stacks_are_kept_as_the_model_has_them(name, tmp_path):
    model = save(name, tmp_path / "model")
    run(asked(model, best=INT8, plain={"dtype": "int8", "group_size": 8}, nf4=NF4_HERE), tmp_path / "out")
    stock = load(name, model)
    original = {key: value for key, value in stock.state_dict().items() if ".experts." in key or ".gate." in key}
    assert len(original) >= 3
    # Four bits send tokens to other experts here, whose routers are random.
    for target, off in {"best": 0.1, "plain": 0.1, "nf4": 0.5}.items():
        artifact = load_file(tmp_path / "out" / target / "model.safetensors")
        assert {key for key in artifact if ".experts." in key or ".gate." in key} == original.keys()
        # A transform of what else reads the norm must not touch them, for they would be rounded again.
        assert all(torch.equal(artifact[key], value) for key, value in original.items())
        assert any("stacks of experts are kept" in note for note in notes(tmp_path / "out", target))
        assert error(name, tmp_path / "out" / target, logits(stock, name)) < off


@pytest.mark.parametrize("name", [*MIXTURES, "deepseek_v3"])
def test_a_mixture_runs_in_any_dtype_that_is_asked_for(name, tmp_path):
    model = save(name, tmp_path / "model") if name in MIXTURES else tiny.save(name, tmp_path / "model")
    edit_tensors(model, lambda tensors: tensors.update({n: w.bfloat16() for n, w in tensors.items()}))
    edit_json(model / "config.json", lambda config: config.update(dtype="bfloat16"))
    run(asked(model, int8={"dtype": "int8", "group_size": 8}, nf4=NF4_HERE), tmp_path / "out")
    for target in ("int8", "nf4"):
        for dtype in (None, torch.float32, torch.bfloat16):
            loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / target, dtype=dtype)
            assert {value.dtype for key, value in loaded.named_parameters() if ".experts." in key} == {
                dtype or torch.bfloat16
            }
            assert logits(loaded, name).isfinite().all()


def test_ir_of_a_mixture_is_the_same_whatever_is_made_beside_it(tmp_path):
    """compressed-tensors keeps the experts that OpenVINO holds quantized: their tensors are not shared."""
    model = save("mixtral", tmp_path / "model")
    recipe = {"dtype": "int4", "group_size": 8}
    run(asked(model, ir=recipe | {"format": "openvino"}), tmp_path / "alone")
    run(asked(model, ir=recipe | {"format": "openvino"}, plain=recipe), tmp_path / "both")
    alone, both = (tmp_path / name / "ir" / "openvino_model.bin" for name in ("alone", "both"))
    assert alone.read_bytes() == both.read_bytes()


def test_stacks_that_are_loaded_as_linears_are_quantized_and_held_against_the_original(tmp_path):
    model = tiny.save("llama4_text", tmp_path / "model")
    run(
        asked(model, nf4=NF4, kept={"dtype": "int8", "group_size": 8, "skip": ["lm_head", "*experts*"]}),
        tmp_path / "out",
    )
    for target, format_, off in (("nf4", "bitsandbytes", 0.5), ("kept", "compressed-tensors", 0.1)):
        loaded = client.load(tmp_path / "out" / target, format_, RuntimeOptions(), "text-generation")
        assert not loaded.faults
        check = weights(loaded, model)
        # Seven of a block that are no experts, three of each of four experts, and the head.
        assert check.passed and check.detail.startswith(f"{2 * (7 + 3 * 4) + 1 + 2} linear weights"), check.detail
        plain = AutoModelForCausalLM.from_pretrained(model)
        assert error("llama4_text", tmp_path / "out" / target, logits(plain, "llama4_text")) < off
    edit_tensors(model, lambda t: t["model.layers.1.feed_forward.experts.gate_up_proj"][2].neg_())
    assert weights(loaded, model).detail.startswith("model.layers.1.feed_forward.experts.2.gate_proj.weight: ")
    streamed = client.load(tmp_path / "out" / "kept", "compressed-tensors", RuntimeOptions(), "text-generation", 0)
    torch.testing.assert_close(streamed.logits(IDS[0]), loaded.logits(IDS[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lost", ["experts.3.w1", "experts.0.w2"])
def test_an_expert_that_is_missing_is_named(lost, tmp_path):
    model = save("mixtral", tmp_path / "model")
    edit_tensors(model, lambda tensors: tensors.pop(f"model.layers.1.block_sparse_moe.{lost}.weight"))
    with pytest.raises(QuantizeError, match=rf"layers\.1\.mlp\.{lost}.*fetch the model again"):
        run(asked(model, plain={"dtype": "int8", "group_size": 8}), tmp_path / "out")


def test_experts_in_one_tensor_are_refused(tmp_path):
    model = save("mixtral", tmp_path / "model")
    edit_tensors(model, lambda t: t.update({"model.layers.0.mlp.experts.down_proj": torch.zeros(4, 32, 48)}))
    with pytest.raises(QuantizeError, match="a matrix for each expert"):
        run(asked(model, plain={"dtype": "int8", "group_size": 8}), tmp_path / "out")


def ir_logits(artifact: Path) -> torch.Tensor:
    return stock(artifact)(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits.float()


@pytest.mark.parametrize("name", MIXTURES)
def test_ir_computes_what_the_stock_model_does_with_the_weights_that_are_in_it(name, tmp_path):
    model = save(name, tmp_path / "model")
    skip = ["*.experts.*.down_proj"] if name == "qwen3_moe" else []
    if skip:
        edit_tensors(model, lambda tensors: tensors.update({n: w.bfloat16() for n, w in tensors.items()}))
    recipe = IR | {"dtype": "int4", "symmetric": False, "rounding": "compensated", "skip": skip}
    run(asked(model, samples=16, t=recipe), tmp_path / "out")
    loaded = Model(stock(tmp_path / "out/t"))
    dense, original = (
        dict(loaded.weights()),
        {n: w.float().clone() for n, w in load_file(model / "model.safetensors").items()},
    )
    edit_tensors(model, lambda tensors: tensors.update({n: w.contiguous() for n, w in dense.items() if n in tensors}))
    experts = {key for key in original if ".experts." in key}
    assert len(experts) in (12, 24) and dense.keys() >= experts, "every expert is in the graph, by its name"
    kept = {key for key in experts if torch.equal(dense[key], original[key])}
    assert kept == {key for key in experts if skip and key.endswith("down_proj.weight")}
    assert ("2 stacks of experts are kept as they are" in notes(tmp_path / "out", "t")) == bool(skip)
    expected = logits(load(name, model), name)
    torch.testing.assert_close(ir_logits(tmp_path / "out/t"), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mixtral", "qwen2_moe-mixed"])
def test_calibration_lowers_the_error_of_experts_in_ir(name, tmp_path):
    model = save(name, tmp_path / "model")
    int8 = IR | {"dtype": "int8"}
    run(asked(model, samples=32, best=int8 | BOTH, plain=int8), tmp_path / "out")
    original = logits(load(name, model), name)
    off = {t: (ir_logits(tmp_path / "out" / t) - original).norm(dim=-1).median() for t in ("best", "plain")}
    assert off["best"] < 0.9 * off["plain"], off
    loaded = Model(stock(tmp_path / "out/best"))
    assert weights(loaded, model).passed
    turned = next(key for key in load_file(model / "model.safetensors") if ".experts.2." in key)
    edit_tensors(model, lambda tensors: tensors[turned].neg_())
    assert weights(loaded, model).detail.startswith(turned), "one expert that points elsewhere is found and named"


@pytest.fixture(
    scope="module",
    params=["switch_transformers", "mixtral"],
)
def routed(request, tmp_path_factory) -> Path:
    """A target that rounds to nearest, and one that is compensated after few tokens and after many."""
    root = tmp_path_factory.mktemp(request.param)
    model = save(request.param, root / "model")
    base = NF4 if request.param == "switch_transformers" else IR | {"dtype": "int4"}
    compensated = {"compensated": base | {"rounding": "compensated"}}
    run(asked(model, samples=1, nearest=base, **compensated), root / "1")
    # What another target scales must not be seen in this one.
    run(asked(model, samples=32, **({"scaled": base | BOTH} if base == NF4 else {}), **compensated), root / "32")
    return root


def experts_of(artifact: Path) -> dict[str, torch.Tensor]:
    """Codes of the experts, or the weights that they stand for, by the names that a note gives them."""
    if (artifact / "openvino_model.xml").exists():
        tensors = dict(Model(stock(artifact)).weights())
        return {key.replace("block_sparse_moe", "mlp"): value for key, value in tensors.items() if ".experts." in key}
    tensors = load_file(artifact / "model.safetensors")
    return {key: value for key, value in tensors.items() if ".experts." in key and key.endswith("wi.weight")}


def fallbacks(out: Path, target: str) -> str:
    return next((note for note in notes(out, target) if "rounded to nearest" in note), "")


def test_experts_that_saw_few_tokens_are_rounded_to_nearest_and_named(routed):
    nearest, compensated = (experts_of(routed / "1" / target) for target in ("nearest", "compensated"))
    note = fallbacks(routed / "1", "compensated")
    assert len(nearest) == (24 if "mixtral" in routed.name else 8)
    for key, weight in nearest.items():
        assert torch.equal(weight, compensated[key]), key
        assert f"{key.removesuffix('.weight')} (" in note
    assert fallbacks(routed / "1", "nearest") == ""


def test_an_expert_that_saw_enough_is_compensated_by_its_own_tokens(routed):
    nearest, compensated = experts_of(routed / "1/nearest"), experts_of(routed / "32/compensated")
    note = fallbacks(routed / "32", "compensated")
    changed = {key for key in nearest if not torch.equal(nearest[key], compensated[key])}
    assert changed == {key for key in nearest if f"{key.removesuffix('.weight')} (" not in note} != set()


def test_nncf_compresses_experts_and_leaves_alone_routers_and_what_is_skipped(tmp_path):
    model = save("mixtral", tmp_path / "model")
    int8 = {"format": "openvino", "engine": "nncf", "dtype": "int8", "group_size": -1}
    run(asked(model, whole=int8, kept=int8 | {"skip": ("lm_head", "*.experts.*")}), tmp_path / "out")
    for target, wanted in (("whole", "i8"), ("kept", "f32")):
        nodes = constants(tmp_path / "out" / target)
        types = {name: node.get_element_type().to_string() for name, node in nodes.items() if "layers.0." in name}
        assert types["self.model.layers.0.mlp.experts.down_proj"] == wanted
        assert types["self.model.layers.0.mlp.gate.weight"] == "f32"
        assert types["self.model.layers.0.self_attn.q_proj.weight"] == "i8"


@pytest.mark.parametrize("name", ["mixtral", "qwen2_moe"])
def test_neural_compressor_keeps_experts_as_ours_does(name, tmp_path):
    model = save(name, tmp_path / "model")
    recipe = {"dtype": "int8", "group_size": 8}
    run(asked(model, ours=recipe, theirs=recipe | {"engine": "neural-compressor"}), tmp_path / "out")
    ours, theirs = (load_file(tmp_path / "out" / target / "model.safetensors") for target in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if ".experts." in key or "gate" in key)


def test_of_hundreds_of_such_experts_a_record_tells_block_by_block():
    few = {f"model.layers.{n % 2}.mlp.experts.{n}.w1": n for n in range(100)}
    told = "50 linears of model.layers.0 (0 to 98), 50 linears of model.layers.1 (1 to 99)"
    assert starved(few) == told


@pytest.mark.parametrize("routed", ["mixtral"], indirect=True)
def test_routers_are_kept_in_ir(routed):
    original, nodes = load_file(routed / "model/model.safetensors"), constants(routed / "32/compensated")
    for layer in (0, 1):
        router = torch.from_numpy(values(nodes[f"self.model.layers.{layer}.mlp.gate.weight"])).view(4, 32)
        assert torch.equal(router, original[f"model.layers.{layer}.block_sparse_moe.gate.weight"])


@pytest.mark.parametrize("routed", ["switch_transformers"], indirect=True)
def test_routers_are_kept(routed):
    original = load_file(routed / "model/model.safetensors")
    tensors = load_file(routed / "32/compensated/model.safetensors")
    kept = [key for key in original if key.endswith(("classifier.weight", ".wo.weight"))]
    assert len(kept) == 2 + 2 + 8 and all(torch.equal(tensors[key], original[key]) for key in kept)


@pytest.mark.parametrize("routed", ["mixtral"], indirect=True)
def test_the_plugin_runs_the_chosen_experts_alone_and_keeps_them_compressed(routed):
    model = stock(routed / "32/compensated")
    model.compile()
    nodes = model.request.get_compiled_model().get_runtime_model().get_ordered_ops()
    gathered = [op for op in nodes if op.get_rt_info()["layerType"].astype(str) == "GatherMatmul"]
    held = Counter(op.input_value(1).get_node().get_rt_info()["outputPrecisions"].astype(str) for op in gathered)
    assert held == {"i4": 2 * 3}


@pytest.mark.parametrize(
    "changed",
    [{"skip": ("lm_head", "*.experts.0.*")}, {"overrides": {"*.experts.1.w2": "int8"}}],
)
def test_experts_that_openvino_has_in_one_tensor_are_of_one_dtype(changed, tmp_path):
    model = save("mixtral", tmp_path / "model")
    with pytest.raises(QuantizeError, match=r"experts\.0\.w\d, .* are one tensor"):
        run(asked(model, t=IR | changed), tmp_path / "out")
    assert not (tmp_path / "out/t").exists()


def test_a_search_gives_all_experts_of_a_matrix_one_dtype(tmp_path):
    model = save("mixtral", tmp_path / "model")
    text = Calibration(documents=DEMO / "calibration.jsonl", samples=16, tokens=32)
    recipe = Recipe(**IR, rounding="compensated")
    sensitivities = answer(
        SensitivityRequest(model=model, recipe=recipe, dtypes=("int4", "int8"), calibration=text), tmp_path / "asked"
    )
    first = [choice.linears for choice in sensitivities.choices if choice.linears[0].startswith("model.layers.0.mlp")]
    matrices = [{name.rpartition(".")[2] for name in linears} for linears in first]
    assert matrices == [{"w1", "w3"}, {"w2"}] and [len(linears) for linears in first] == [8, 4]
    assert all(choice.kld["int4"] > choice.kld["int8"] > 0 for choice in sensitivities.choices)
    overrides = dict.fromkeys(first[1], "int8")
    made = run(asked(model, samples=16, t=IR | {"rounding": "compensated", "overrides": overrides}), tmp_path / "out")
    assert made.targets["t"].quantized == 2 * (4 + 12)


def test_a_mixture_without_a_table_is_refused_before_the_pass(tmp_path):
    PhimoeForCausalLM(PhimoeConfig(**DECODER, num_local_experts=4)).save_pretrained(tmp_path / "model")
    with pytest.raises(QuantizeError, match=r"model_type is mixtral, .* this is phimoe"):
        run(asked(with_tokenizer(tmp_path / "model"), t=IR), tmp_path / "out")
    assert not (tmp_path / "out/.work").exists()
