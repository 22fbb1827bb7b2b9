"""Recipes that are calibrated on files: blocks are found and solved by what a model makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from openvino import Core
from torch import Tensor
from transformers import AutoModelForImageClassification, ViTImageProcessorPil

from catalog.errors import InputError
from quantizers.calibration.solving import solve
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request, Result
from tests import encoders, listeners, pictures

pytestmark = pytest.mark.xdist_group("encoders")

INT3 = Recipe(dtype="int3", group_size=64, symmetric=False)
RECIPES = {
    "plain": INT3,
    "best": INT3.model_copy(update={"transform": "awq", "rounding": "compensated"}),
    "w8a8": Recipe(engine="nncf", format="openvino", dtype="int8", group_size=-1, activations="int8"),
}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("files")
    pictures.beit(root / "model")
    pictures.write_files(root)
    encoders.write_rows(root / "calibration.jsonl", pictures.CALIBRATION)
    return root


def request(room: Path, recipes: dict[str, Recipe]) -> Request:
    calibration = Calibration(documents=room / "calibration.jsonl", samples=40)
    return Request(model=room / "model", task="image-classification", targets=recipes, calibration=calibration)


@pytest.fixture(scope="module")
def made(room: Path) -> Result:
    return run(request(room, RECIPES), room / "out")


@torch.no_grad()
def log_probabilities(path: Path) -> Tensor:
    processor = ViTImageProcessorPil.from_pretrained(path)
    pixels = processor(images=[image for image, _ in pictures.SHOWN], return_tensors="pt")["pixel_values"]
    logits: Tensor = AutoModelForImageClassification.from_pretrained(path)(pixel_values=pixels).logits
    return logits.float().log_softmax(-1)


def test_the_blocks_of_a_tower_are_found_and_calibrating_on_pictures_pays(room: Path, made: Result) -> None:
    found = made.targets["best"].found
    assert found is not None
    assert list(found.blocks) == [f"beit.encoder.layer.{number}" for number in range(2)]
    absorbers = {name: group.absorber for group in found.groups[0] for name in group.linears}
    assert absorbers["attention.attention.query"] == "layernorm_before"
    assert absorbers["attention.output.dense"] == "attention.attention.value"
    assert absorbers["intermediate.dense"] == "layernorm_after"
    wanted = log_probabilities(room / "model")
    kld = {
        name: float((wanted.exp() * (wanted - log_probabilities(room / "out" / name))).sum(-1).mean())
        for name in ("plain", "best")
    }
    assert 0 < kld["best"] < kld["plain"], kld


def test_what_is_no_linear_stays_as_it_is_beside_int8_activations(room: Path, made: Result) -> None:
    graph = Core().read_model(room / "out/w8a8/openvino_model.xml")
    ranges = [op for op in graph.get_ops() if op.get_type_name() == "FakeQuantize"]
    wide = [op for op in graph.get_ops() if op.get_type_name() == "Convolution"]
    assert len(ranges) >= 8 and len(wide) == 1
    weight = wide[0].input_value(1).get_node()
    assert weight.get_type_name() == "Constant" and weight.get_element_type().to_string() == "f32"
    assert made.targets["w8a8"].notes == ()


def test_a_decoder_is_calibrated_on_what_is_said_and_not_on_what_fills_rows_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, rows = listeners.processor(), listeners.CALIBRATION[:7]
    listeners.configured(both.tokenizer).save_pretrained(tmp_path / "model")
    both.save_pretrained(tmp_path / "model")
    listeners.write_sounds(tmp_path, rows)
    documents = encoders.write_rows(tmp_path / "calibration.jsonl", rows)
    read: dict[str, int] = {}

    def spied(*args: Any) -> None:
        _, _, path, groups, moments, *_ = args
        read.update(
            {f"{path}.{group.linears[0]}": sum(m.tokens.values()) for group, m in zip(groups, moments, strict=True)}
        )
        solve(*args)

    monkeypatch.setattr("quantizers.calibration.call_pass.solve", spied)
    calibration = Calibration(documents=documents, samples=7)
    recipe = Recipe(format="bitsandbytes", dtype="nf4", group_size=64, transform="awq", range="mse")
    asked = Request(
        model=tmp_path / "model",
        task="automatic-speech-recognition",
        targets={"t": recipe},
        calibration=calibration,
    )
    made = run(asked, tmp_path / "out").targets["t"]
    assert made.found is not None and len(made.found.blocks) == 4
    assert not any(group.experts for groups in made.found.groups for group in groups)
    (few,) = (note for note in made.notes if "fewer tokens than they have inputs" in note)
    assert "decoder.layers.1.fc2" in few and "encoder.layers" not in few, (
        "six transcripts are too few for the decoder alone"
    )
    words, begun = both.tokenizer, both.tokenizer.prefix_tokens
    said = [[*begun, *words(row["transcript"], add_special_tokens=False)["input_ids"]] for row in rows]
    positions = 25 * listeners.SECONDS
    count = read["model.encoder.layers.1.fc1"] // positions  # rows that are told from every other size
    assert count >= 3 and len({len(each) for each in said[:count]}) > 1
    own = sum(map(len, said[:count]))
    assert read["model.decoder.layers.1.fc1"] == read["model.decoder.layers.0.self_attn.q_proj"] == own
    assert read["model.decoder.layers.1.encoder_attn.k_proj"] == count * positions


def test_a_picture_that_is_none_is_told_by_its_name(room: Path, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.png").write_bytes(b"no picture")
    (tmp_path / "calibration.jsonl").write_text(json.dumps({"image": "files/a.png"}) + "\n")
    asked = request(room, {"best": RECIPES["best"]})
    asked = asked.model_copy(update={"calibration": Calibration(documents=tmp_path / "calibration.jsonl")})
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image"):
        run(asked, tmp_path / "out")
