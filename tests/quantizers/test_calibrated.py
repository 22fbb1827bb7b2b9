import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from quantizers.entrypoint import run
from quantizers.errors import QuantizeError
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request
from tests.quantizers.models import DEMO, edit_json, edit_tensors, make_llama
from tests.quantizers.test_door import same

pytestmark = pytest.mark.xdist_group("calibrated")

MODEL = DEMO / "model"
INT3 = {"dtype": "int3", "group_size": 64, "symmetric": False}
COMPENSATED = INT3 | {"rounding": "compensated"}


def request(model: Path, samples: int = 6, memory: int | None = None, **recipes: Any) -> Request:
    calibration = Calibration(documents=DEMO / "calibration.jsonl", samples=samples, tokens=64)
    targets = {name: Recipe(**recipe) for name, recipe in recipes.items()}
    return Request(model=model, targets=targets, calibration=calibration, memory_bytes=memory)


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    lines = (DEMO / "evaluation.jsonl").read_text().splitlines()[:60]
    ids = [token for line in lines for token in tokenizer(json.loads(line)["text"]).input_ids]
    return torch.tensor(ids[: 24 * 64]).view(24, 64)


@torch.no_grad()
def divergence(model: Path, artifact: Path, tokens: torch.Tensor) -> float:
    """Mean KL divergence from the original, in nats."""
    original = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)(tokens).logits.log_softmax(-1)
    logs = AutoModelForCausalLM.from_pretrained(artifact, dtype=torch.float32)(tokens).logits.log_softmax(-1)
    return float((original.exp() * (original - logs)).sum(-1).mean())


def test_an_untied_head_is_quantized_and_the_record_says_that_no_text_was_read_for_it(tmp_path, tokens):
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    edit_json(model / "config.json", lambda config: config.update(tie_word_embeddings=False))
    edit_tensors(model, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    recipe = {"dtype": "int8", "group_size": 64, "rounding": "compensated", "skip": []}
    made = run(request(model, t=recipe), tmp_path / "out").targets["t"]
    assert "outside the calibrated blocks, rounded to nearest: lm_head" in made.notes
    assert "lm_head.weight_packed" in load_file(tmp_path / "out/t/model.safetensors")
    assert divergence(model, tmp_path / "out/t", tokens) < 0.001


def with_outliers(directory: Path) -> Path:
    """The demo model after an exact equivalent transformation: a few channels of each norm's output are 8-40 times
    as large, and the linears behind it read them back at that fraction."""
    directory.mkdir()
    for file in MODEL.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    tensors = {name: tensor.float() for name, tensor in load_file(MODEL / "model.safetensors").items()}
    generator = torch.Generator().manual_seed(5)
    readers = {"input_layernorm": ("q_proj", "k_proj", "v_proj"), "post_attention_layernorm": ("gate_proj", "up_proj")}
    for name in [n for n in tensors if n.endswith("layernorm.weight")]:
        block, _, norm = name.removesuffix(".weight").rpartition(".")
        factor = torch.ones(256)
        factor[torch.randperm(256, generator=generator)[:4]] = 8 + 32 * torch.rand(4, generator=generator)
        tensors[name] *= factor
        for other in tensors:
            if other.startswith(f"{block}.") and other.split(".")[-2] in readers[norm]:
                tensors[other] /= factor
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    edit_json(directory / "config.json", lambda v: v.update(dtype="float32"))
    return directory


@pytest.fixture(scope="module")
def outliers(tmp_path_factory) -> Path:
    return with_outliers(tmp_path_factory.mktemp("outliers") / "model")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """All kinds of calibrated targets, and a data-free one, in one pass."""
    out = tmp_path_factory.mktemp("made")
    recipes: dict[str, Any] = {
        "rtn": INT3,
        "awq": INT3 | {"transform": "awq", "range": "mse"},
        "compensated": COMPENSATED,
        "refined": COMPENSATED | {"range": "mse"},
        "teq": COMPENSATED | {"transform": "teq"},
        "teq-nearest": INT3 | {"transform": "teq", "range": "mse"},
        "nf4": {"format": "bitsandbytes", "dtype": "nf4", "group_size": 64, "rounding": "compensated"},
        "nf4-rtn": {"format": "bitsandbytes", "dtype": "nf4", "group_size": 64},
        "channel": {"group_size": -1, "symmetric": True, "rounding": "compensated", "skip": ["*.o_proj", "lm_head"]},
    }
    run(request(MODEL, samples=32, **recipes), out)
    return out


def test_compensation_and_better_ranges_show_on_held_out_text(made, tokens):
    kld = {d.name: divergence(MODEL, d, tokens) for d in made.iterdir() if d.is_dir()}
    # Without outlier channels scales have nothing left to mend once rounding is compensated.
    assert max(kld["compensated"], kld["teq"]) < 0.5 * kld["rtn"], kld
    assert kld["refined"] < kld["compensated"], kld
    assert kld["awq"] < 0.9 * kld["rtn"], kld
    assert kld["teq-nearest"] < kld["awq"], kld
    assert kld["nf4"] < 0.8 * kld["nf4-rtn"], kld


def test_scales_tame_outlier_channels(outliers, tmp_path, tokens):
    assert divergence(MODEL, outliers, tokens) < 1e-6
    int4 = {"group_size": 64, "symmetric": False}
    recipes: dict[str, Any] = {
        "rtn": int4,
        "awq": int4 | {"transform": "awq"},
        "both": int4 | {"transform": "awq", "rounding": "compensated"},
    }
    run(request(outliers, samples=32, **recipes), tmp_path)
    kld = {name: divergence(outliers, tmp_path / name, tokens) for name in recipes}
    assert kld["awq"] < 0.5 * kld["rtn"], kld
    assert kld["both"] < 0.5 * kld["awq"], kld


def test_a_kept_linear_is_bit_identical_and_a_record_says_what_was_found(made):
    original, channel = load_file(MODEL / "model.safetensors"), load_file(made / "channel/model.safetensors")
    assert torch.equal(
        channel["model.layers.2.self_attn.o_proj.weight"], original["model.layers.2.self_attn.o_proj.weight"]
    )
    notes = json.loads((made / "result.json").read_text())["targets"]["teq"]["notes"]
    assert any(note.startswith("teq error ratio") and note.endswith("16 groups of linears") for note in notes)


def test_a_target_is_the_same_alone_and_when_its_activations_spill(made, tmp_path):
    recipe = COMPENSATED | {"transform": "teq"}
    run(request(MODEL, samples=32, memory=1_200_000, teq=recipe), tmp_path)
    assert same(tmp_path / "teq", made / "teq")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result.json", "teq"]


def test_spilled_batches_are_on_disk(tmp_path):
    from quantizers.calibration.activations import Activations

    batches = Activations(tmp_path / "spill", 3000)
    for index in range(4):
        batches[index] = torch.full((1, 4, 64), float(index))
    batches[3] = batches[3] + 10
    assert len(list((tmp_path / "spill").iterdir())) == 2
    assert [float(batch.mean()) for batch in batches] == [0.0, 1.0, 2.0, 13.0]


@pytest.mark.slow
def test_a_killed_run_goes_on_at_its_block_and_ends_with_the_same_bytes(made, tmp_path):
    wanted, out = tmp_path / "request.json", tmp_path / "out"
    recipes: dict[str, Any] = {"teq": COMPENSATED | {"transform": "teq"}, "rtn": INT3}
    wanted.write_text(request(MODEL, samples=32, **recipes).model_dump_json())
    command = [sys.executable, "-m", "quantizers", wanted, out]
    settings: dict[str, Any] = {"cwd": DEMO.parents[1], "env": os.environ | {"OMP_NUM_THREADS": "1"}, "text": True}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **settings)
    for line in child.stdout:
        if "block 3 of 4" in line:
            time.sleep(0.05)
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    assert not (out / "result.json").exists() and not (out / "teq").exists()
    done = subprocess.run(command, capture_output=True, check=True, **settings)
    assert "block 3 of 4" in done.stdout and "block 2 of 4" not in done.stdout
    assert sorted(p.name for p in out.iterdir()) == ["result.json", "rtn", "teq"]
    ours, theirs = (json.loads((d / "result.json").read_text())["targets"]["teq"] for d in (out, made))
    assert ours == theirs
    assert same(out / "teq", made / "teq")
    assert same(out / "rtn", made / "rtn")


def test_work_left_by_another_request_is_not_gone_on_with(tmp_path):
    from quantizers.calibration import resume
    from quantizers.model.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(MODEL)
    one = resume.fingerprint(request(MODEL, t=COMPENSATED), checkpoint)
    other = resume.fingerprint(request(MODEL, t=COMPENSATED | {"range": "mse"}), checkpoint)
    assert one != other == resume.fingerprint(request(MODEL, t=COMPENSATED | {"range": "mse"}), checkpoint)
    resume.begin(tmp_path / "work", one, [])
    (tmp_path / "work/left").write_text("over")
    resume.begin(tmp_path / "work", one, [])
    assert (tmp_path / "work/left").exists()
    resume.begin(tmp_path / "work", other, [])
    assert not (tmp_path / "work/left").exists()


def refused(wanted: Request, out: Path, *words: str) -> None:
    with pytest.raises(QuantizeError) as caught:
        run(wanted, out)
    for word in words:
        assert word in str(caught.value), caught.value
    assert not (out / "result.json").exists()


def test_no_calibration_text(tmp_path):
    refused(Request(model=MODEL, targets={"t": Recipe(**COMPENSATED)}), tmp_path, "target t", "calibration")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"text": "too short"}\n', ("less than one row",)),
        ("", ("0 documents",)),
        ("{\n", ("JSON Lines",)),
        ('{"body": "x"}\n', ("line 1", '"text"')),
        ("[1]\n", ("JSON Lines",)),
    ],
)
def test_text_that_cannot_calibrate(tmp_path, text, words):
    (tmp_path / "text.jsonl").write_text(text)
    wanted = request(MODEL, t=COMPENSATED)
    calibration = wanted.calibration.model_copy(update={"documents": tmp_path / "text.jsonl"})
    refused(wanted.model_copy(update={"calibration": calibration}), tmp_path / "out", "text.jsonl", *words)


def test_a_budget_below_one_batch(tmp_path):
    refused(request(MODEL, memory=1000, t=COMPENSATED), tmp_path, "memory", "1000")


def test_a_tokenizer_of_another_model(tmp_path):
    model = make_llama(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).write_bytes((MODEL / name).read_bytes())
    refused(request(model, t=COMPENSATED), tmp_path / "out", "320", "Tokenizer")


def test_blocks_run_in_bfloat16_when_asked(tmp_path, tokens):
    text = Calibration(documents=DEMO / "calibration.jsonl", samples=6, tokens=64, compute="bfloat16")
    wanted = Request(model=MODEL, targets={"int3": Recipe(**COMPENSATED)}, calibration=text)
    result = run(wanted, tmp_path / "bfloat16")
    exact = run(request(MODEL, int3=COMPENSATED), tmp_path / "float32")
    assert (result.compute.split(",")[0], exact.compute.split(",")[0]) == ("bfloat16", "float32")
    rounded, wide = (load_file(tmp_path / dtype / "int3" / "model.safetensors") for dtype in ("bfloat16", "float32"))
    name = "model.layers.3.mlp.down_proj.weight_packed"
    assert not torch.equal(rounded[name], wide[name]), "the block's products were not taken in bfloat16"
    divergences = [divergence(MODEL, tmp_path / dtype / "int3", tokens) for dtype in ("bfloat16", "float32")]
    assert divergences[0] == pytest.approx(divergences[1], rel=0.1)
