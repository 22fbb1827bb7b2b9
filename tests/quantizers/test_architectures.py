"""Every family through the calibrated pass, and back through the stock loader."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from quantizers.calibration.activations import Activations
from quantizers.calibration.block_pass import _encoded
from quantizers.calibration.blocks import first_inputs
from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.families import family_of
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.skeleton import build
from quantizers.model.values import materialize
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request
from tests.quantizers.families.tiny_models import DECODER, MODELS, make
from tests.quantizers.models import DEMO
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
    model, info = getattr(transformers, auto or "AutoModelForCausalLM").from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values()), info
    return model


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


OTHER_TASKS = {
    "bert-classifier": "BertForSequenceClassification",
    "bart": "BartForSequenceClassification",
    "whisper": "WhisperForAudioClassification",
}


@pytest.mark.parametrize("name", OTHER_TASKS)
def test_an_architecture_with_another_task_is_named_and_its_weights_are_not_blamed(name, tmp_path):
    sizes = {"d_model": 12, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 64, "max_position_embeddings": 8}
    if name == "bert-classifier":
        make(name).save_pretrained(tmp_path / "model")
    else:
        config = transformers.AutoConfig.for_model(name, **sizes, encoder_attention_heads=2, decoder_attention_heads=2)
        getattr(transformers, OTHER_TASKS[name])(config).save_pretrained(tmp_path / "model")
    with pytest.raises(
        QuantizeError, match=rf"{OTHER_TASKS[name]}, is none for text generation.*head is for classification"
    ):
        build(open_checkpoint(tmp_path / "model"))


@pytest.mark.parametrize("recipe", [{"group_size": 8}, NF4])
def test_linears_of_a_class_of_their_own_are_linears_that_transformers_does_not_replace(recipe, tmp_path):
    config = transformers.FalconConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=64)
    transformers.FalconForCausalLM(config).save_pretrained(tmp_path / "model")
    with pytest.raises(QuantizeError, match=r"transformer\.h\.0\..* of a falcon.* format openvino"):
        run(request(tmp_path / "model", t=recipe), tmp_path / "out")


@pytest.mark.parametrize("name", ["t5", "helium"])
def test_the_advice_for_what_openvino_does_not_take_is_a_format_that_takes_it(name, tmp_path):
    if name == "t5":
        save(name, tmp_path / "model")
    else:
        config = transformers.HeliumConfig(**{**DECODER, "intermediate_size": 64}, head_dim=8)
        transformers.HeliumForCausalLM(config).save_pretrained(tmp_path / "model")
    with pytest.raises(QuantizeError, match="exports no model_type") as caught:
        run(request(tmp_path / "model", ov={"format": "openvino", "group_size": 32}), tmp_path / "refused")
    advised: dict[str, dict] = {"compressed-tensors": {"group_size": 32}, "bitsandbytes": NF4}
    for format, recipe in advised.items():
        if format in str(caught.value):
            run(request(tmp_path / "model", t=recipe), tmp_path / format)
    assert any(format in str(caught.value) for format in advised)


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
    for stack_index, stack in enumerate(family.stacks):
        stream = Activations(tmp_path / str(stack_index), None)
        blocks = first_inputs(checkpoint, skeleton, family, stack_index, rows, stream, encoded)
        for index in range(blocks.count):
            path = f"{stack.path}.{index}"
            block = materialize(skeleton.model.get_submodule(path), path, checkpoint, skeleton)
            for at in range(len(stream)):
                stream[at] = blocks.forward(block, stream[at], blocks.of_batch(index, at))
        if stack_index + 1 < len(family.stacks):
            encoded = _encoded(checkpoint, skeleton, stack.final_norm, stream)
    wanted = hidden(load(name, model), name, rows)
    torch.testing.assert_close(torch.cat(list(stream)), wanted, rtol=1e-4, atol=1e-4)


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
        patched.setattr("quantizers.calibration.block_pass.report", until)
        with pytest.raises(Killed):
            run(wanted, tmp_path / "out")
    run(wanted, tmp_path / "out")
    said = capsys.readouterr().out
    assert last in said and f"block {int(last[6]) - 1} of 4" not in said
    for target in ("best", "plain"):
        assert same(tmp_path / "out" / target, tmp_path / "whole" / target)
    results = [json.loads((tmp_path / d / "result.json").read_text()) for d in ("out", "whole")]
    assert results[0] == results[1]
