"""Every family through the calibrated pass, and back through the stock loader."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from quantizers.activations import Activations
from quantizers.blocks import first_inputs, forward, materialize
from quantizers.calibrated import _encoded
from quantizers.checkpoint import open_checkpoint
from quantizers.door import run
from quantizers.errors import QuantizeError
from quantizers.families import family_of
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request
from quantizers.skeleton import build
from tests.quantizers.families.tiny_models import MODELS, make
from tests.quantizers.models import DEMO, edit_tensors
from tests.quantizers.test_door import same

BOTH = {"transform": "awq", "rounding": "compensated"}
INT8 = {"dtype": "int8", "group_size": 8, **BOTH}
NF4 = {"format": "bitsandbytes", "dtype": "nf4", "group_size": 32}
SEQ2SEQ = ("t5", "t5-gated", "switch_transformers")
# No language model is a classifier.
LOADED = [name for name in MODELS if name != "bert-classifier"]


def save(name: str, directory: Path) -> Path:
    """A tiny model that knows the demo's tokens."""
    model = make(name, vocab_size=2048, pad_token_id=0)
    for key, parameter in model.named_parameters():
        if key.endswith("Attention.q.weight"):
            parameter.data /= 16  # T5 does not divide its scores: keep the softmax from choosing one token
    model.save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (directory / file).write_bytes((DEMO / "model" / file).read_bytes())
    return directory


def request(model: Path, samples: int = 4, **recipes: dict) -> Request:
    calibration = Calibration(documents=DEMO / "calibration.jsonl", samples=samples, tokens=32)
    return Request(model=model, targets={n: Recipe(**r) for n, r in recipes.items()}, calibration=calibration)


def load(name: str, directory: Path):
    auto = "AutoModelForSeq2SeqLM" if name in SEQ2SEQ else "AutoModelForMaskedLM" if name == "bert" else None
    found, info = getattr(transformers, auto or "AutoModelForCausalLM").from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values()), info
    return found


@torch.no_grad()
def logits(model, name: str) -> torch.Tensor:
    ids = torch.arange(2 * 20).view(2, 20) * 7 % 61 + 1
    return model(input_ids=ids, **({"decoder_input_ids": ids.flip(1)} if name in SEQ2SEQ else {})).logits


def error(name: str, artifact: Path, original: torch.Tensor) -> float:
    """Relative error of the logits; of a middling token's where random routers send some elsewhere for any change."""
    off = logits(load(name, artifact), name) - original
    if name == "switch_transformers":
        return float((off.norm(dim=-1) / original.norm(dim=-1)).median())
    return float(off.norm() / original.norm())


@pytest.mark.parametrize("name", [n for n in LOADED if n not in (*SEQ2SEQ, "gpt2")])
def test_a_family_is_calibrated_and_loads_in_its_stock_loader(name, tmp_path):
    model = save(name, tmp_path / "model")
    run(request(model, int8=INT8 | {"skip": ("lm_head", "embed_out", "cls.*")}), tmp_path / "out")
    assert error(name, tmp_path / "out/int8", logits(load(name, model), name)) < 0.1


@pytest.mark.parametrize("name", ["gpt2", *SEQ2SEQ])
def test_what_compressed_tensors_cannot_hold_is_calibrated_into_bitsandbytes(name, tmp_path):
    model = save(name, tmp_path / "model")
    run(request(model, samples=32, best=NF4 | BOTH, plain=NF4), tmp_path / "out")
    original = logits(load(name, model), name)
    errors = {target: error(name, tmp_path / "out" / target, original) for target in ("best", "plain")}
    assert errors["best"] < 0.9 * errors["plain"], errors


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_a_t5_that_transformers_could_not_load_is_refused(name, tmp_path):
    with pytest.raises(QuantizeError, match=r"SelfAttention\.q.*bitsandbytes"):
        run(request(save(name, tmp_path / "model"), int8=INT8), tmp_path / "out")


def hidden(model, name: str, rows: torch.Tensor) -> torch.Tensor:
    """What the last block of the last stack returns in the model itself."""
    seen = []
    path = family_of(model.config.to_dict()).blocks[-1]
    last = model.get_submodule(path)[-1]
    handle = last.register_forward_hook(lambda _m, _a, out: seen.append(out[0] if isinstance(out, tuple) else out))
    shifted = {"decoder_input_ids": model._shift_right(rows)} if name in SEQ2SEQ else {}
    model(input_ids=rows, **shifted)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", LOADED)
@torch.no_grad()
def test_the_stream_is_what_the_model_computes(name, tmp_path):
    model = save(name, tmp_path / "model")
    checkpoint = open_checkpoint(model)
    skeleton, family = build(checkpoint), family_of(checkpoint.config)
    rows = torch.arange(40 * 32).view(40, 32) * 7 % 61 + 1
    encoded = None
    for place, stack in enumerate(family.stacks):
        stream = Activations(tmp_path / str(place), None)
        blocks = first_inputs(checkpoint, skeleton, family, place, rows, stream, encoded)
        for index in range(blocks.count):
            path = f"{stack.path}.{index}"
            block = materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton)
            for at in range(len(stream)):
                stream[at] = forward(block, stream[at], blocks.of_batch(at))
        if place + 1 < len(family.stacks):
            encoded = _encoded(checkpoint, skeleton, stack.final_norm, stream)
    wanted = hidden(load(name, model), name, rows)
    torch.testing.assert_close(torch.cat(list(stream)), wanted, rtol=1e-4, atol=1e-4)


MIXTURES = ("mixtral", "qwen2_moe", "qwen2_moe-mixed", "qwen3_moe")


@pytest.mark.parametrize("name", MIXTURES)
def test_experts_that_the_loader_stacks_are_kept_as_the_checkpoint_has_them(name, tmp_path):
    model = save(name, tmp_path / "model")
    run(request(model, best=INT8, plain={"dtype": "int8", "group_size": 8}), tmp_path / "out")
    original = load_file(model / "model.safetensors")
    experts = {key for key in original if ".experts." in key or key.endswith("gate.weight")}
    assert len(experts) > 12
    for target in ("best", "plain"):
        artifact = load_file(tmp_path / "out" / target / "model.safetensors")
        assert {key for key in artifact if "expert" in key and not key.endswith("weight")}.isdisjoint(experts)
        # A transform of what else reads the norm must not touch them, for they would be rounded again.
        assert all(torch.equal(artifact[key], original[key]) for key in experts)
        made = json.loads((tmp_path / "out/result.json").read_text())["targets"][target]
        assert any("stacks of experts are kept" in note for note in made["notes"])
        assert error(name, tmp_path / "out" / target, logits(load(name, model), name)) < 0.1


@pytest.mark.parametrize("lost", ["experts.3.w1", "experts.0.w2"])
def test_an_expert_that_is_missing_is_named_by_its_stack(lost, tmp_path):
    model = save("mixtral", tmp_path / "model")
    edit_tensors(model, lambda tensors: tensors.pop(f"model.layers.1.block_sparse_moe.{lost}.weight"))
    with pytest.raises(QuantizeError, match=r"layers\.1\.mlp\.experts\..*fetch the model again"):
        run(request(model, plain={"dtype": "int8", "group_size": 8}), tmp_path / "out")


@pytest.fixture(scope="module")
def switch(tmp_path_factory) -> Path:
    """A target without transform beside one that rounds to nearest, after few tokens and after many."""
    root = tmp_path_factory.mktemp("switch")
    model = save("switch_transformers", root / "model")
    for samples in (1, 32):
        recipes = {"nearest": NF4, "compensated": NF4 | {"rounding": "compensated"}, "both": NF4 | BOTH}
        run(request(model, samples=samples, **recipes), root / str(samples))
    return root


def experts_of(artifact: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(artifact / "model.safetensors")
    return {key: value for key, value in tensors.items() if ".experts." in key and key.endswith("wi.weight")}


def fallbacks(out: Path, target: str) -> str:
    notes = json.loads((out / "result.json").read_text())["targets"][target]["notes"]
    return next((note for note in notes if "rounded to nearest" in note), "")


def test_experts_that_saw_few_tokens_are_rounded_to_nearest_and_named(switch):
    nearest, compensated = (experts_of(switch / "1" / target) for target in ("nearest", "compensated"))
    note = fallbacks(switch / "1", "compensated")
    assert len(nearest) == 8
    for key, codes in nearest.items():
        assert torch.equal(codes, compensated[key]), key
        assert f"{key.removesuffix('.weight')} (" in note
    assert fallbacks(switch / "1", "nearest") == ""


def test_an_expert_that_saw_enough_is_compensated_by_its_own_tokens(switch):
    nearest, compensated = (experts_of(switch / "32" / target) for target in ("nearest", "compensated"))
    note = fallbacks(switch / "32", "compensated")
    changed = {key for key in nearest if not torch.equal(nearest[key], compensated[key])}
    assert changed == {key for key in nearest if f"{key.removesuffix('.weight')} (" not in note} != set()


def test_the_router_is_kept(switch):
    tensors = load_file(switch / "32/compensated/model.safetensors")
    original = load_file(switch / "model/model.safetensors")
    kept = [key for key in original if key.endswith(("classifier.weight", ".wo.weight"))]
    assert len(kept) == 2 + 2 + 8 and all(torch.equal(tensors[key], original[key]) for key in kept)


class Killed(BaseException):
    """What stands for a signal."""


@pytest.mark.parametrize("last", ["block 2 of 4", "block 3 of 4", "block 4 of 4"])
def test_an_interrupted_run_over_two_stacks_goes_on_at_its_block(last, tmp_path, monkeypatch, capsys):
    wanted = request(save("t5", tmp_path / "model"), best=NF4 | BOTH, plain=NF4)
    run(wanted, tmp_path / "whole")
    capsys.readouterr()

    def until(what: str, done: int, total: int) -> None:
        if what == f"{last}: best":
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("quantizers.calibrated.progress", until)
        with pytest.raises(Killed):
            run(wanted, tmp_path / "out")
    run(wanted, tmp_path / "out")
    said = capsys.readouterr().out
    assert last in said and f"block {int(last[6]) - 1} of 4" not in said
    for target in ("best", "plain"):
        assert same(tmp_path / "out" / target, tmp_path / "whole" / target)
    results = [json.loads((tmp_path / d / "result.json").read_text()) for d in ("out", "whole")]
    assert results[0] == results[1]
