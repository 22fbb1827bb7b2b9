"""What each dtype does to each group of linears, against artifacts that the stock loader scores."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from quantizers.calibration.text import read_rows
from quantizers.entrypoint import answer, run
from quantizers.errors import QuantizeError
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request, SensitivityRequest, SensitivityResult
from tests.quantizers.models import DEMO, edit_tensors
from tests.quantizers.test_calibrated import MODEL, divergence

pytestmark = pytest.mark.xdist_group("sensitivity")

RTN = Recipe(group_size=64)
TEXT = Calibration(documents=DEMO / "calibration.jsonl", samples=8, tokens=64)
ROWS = read_rows(TEXT, MODEL, 1 << 20)


def asked(model=MODEL, recipe=RTN, **changes) -> SensitivityRequest:
    return SensitivityRequest(model=model, recipe=recipe, dtypes=("int8", "int4"), calibration=TEXT, **changes)


@pytest.fixture(scope="module")
def sensitivities(tmp_path_factory) -> SensitivityResult:
    return answer(asked(), tmp_path_factory.mktemp("answer"))


def measured(tmp_path, keep: list[str]) -> float:
    """Divergence, on the probed rows, of an artifact in which only the linears `keep` are in int4."""
    others = [name.removesuffix(".weight") for name in load_file(MODEL / "model.safetensors") if "_proj" in name]
    skip = ("lm_head", *(name for name in others if name not in keep))
    run(Request(model=MODEL, targets={"t": Recipe(group_size=64, skip=skip)}), tmp_path)
    return divergence(MODEL, tmp_path / "t", ROWS)


def test_groups_cover_the_model_and_their_bytes_are_those_of_an_artifact(sensitivities, tmp_path):
    assert [choice.linears[0].split(".", 2)[2] for choice in sensitivities.choices][:5] == [
        "0.self_attn.q_proj",
        "0.self_attn.o_proj",
        "0.mlp.gate_proj",
        "0.mlp.down_proj",
        "1.self_attn.q_proj",
    ]
    wide = sensitivities.choices[3::4]
    overrides = {name: "int8" for choice in wide for name in choice.linears}
    made = run(Request(model=MODEL, targets={"t": Recipe(group_size=64, overrides=overrides)}), tmp_path)
    implied = sum(choice.bytes["int8" if choice in wide else "int4"] for choice in sensitivities.choices)
    tensors = len(load_file(tmp_path / "t/model.safetensors"))
    assert implied + sensitivities.rest_bytes - 256 * tensors == made.targets["t"].weights_bytes
    assert (tmp_path / "t/model.safetensors").stat().st_size <= implied + sensitivities.rest_bytes


@pytest.mark.parametrize("index", [0, 7, 14])
def test_the_narrowest_dtype_diverges_as_the_stock_loader_measures(sensitivities, tmp_path, index):
    choice = sensitivities.choices[index]
    assert choice.kld["int4"] == pytest.approx(measured(tmp_path, list(choice.linears)), rel=0.02)
    assert 100 < choice.kld["int4"] / choice.kld["int8"] < 1000


def test_of_a_deep_model_one_stream_a_block_is_shared_among_its_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("quantizers.sensitivity.measure.STREAMS", 4)
    block = answer(asked(memory_bytes=1 << 19), tmp_path / "answer").choices[4:8]
    whole = measured(tmp_path, [name for choice in block for name in choice.linears])
    assert sum(choice.kld["int4"] for choice in block) == pytest.approx(whole, rel=0.02)
    assert not (tmp_path / "answer/.work").exists()


def test_a_fragile_group_ranks_first(sensitivities, tmp_path):
    fragile = "model.layers.2.mlp.down_proj"
    shutil.copytree(MODEL, tmp_path / "model")
    # One large weight in every group of 64 leaves few steps of the grid for the others.
    edit_tensors(tmp_path / "model", lambda tensors: tensors[f"{fragile}.weight"][:, ::64].mul_(8))
    planted = answer(asked(tmp_path / "model"), tmp_path / "out")
    worst = [max(each.choices, key=lambda choice: choice.kld["int4"]).linears for each in (sensitivities, planted)]
    assert worst[0] != (fragile,) and worst[1] == (fragile,)


def test_a_calibrated_recipe_is_measured_as_it_rounds_and_on_rows_it_was_not_fitted_to(sensitivities, tmp_path):
    recipe = Recipe(group_size=64, symmetric=False, transform="awq", rounding="compensated")
    better = answer(asked(recipe=recipe), tmp_path / "out")
    assert better.probe_tokens == 4 * 64
    total = {each.probe_tokens: sum(choice.kld["int4"] for choice in each.choices) for each in (sensitivities, better)}
    assert total[256] < total[512] / 1.5
    with pytest.raises(QuantizeError, match=r"one row of 64 tokens.*give more text"):
        short = TEXT.model_copy(update={"samples": 1})
        answer(asked(recipe=recipe).model_copy(update={"calibration": short}), tmp_path / "short")


def test_the_answer_is_the_same_every_time(sensitivities, tmp_path):
    assert answer(asked(), tmp_path) == sensitivities
    assert SensitivityResult.model_validate_json((tmp_path / "result.json").read_text()) == sensitivities
    assert torch.is_grad_enabled()
