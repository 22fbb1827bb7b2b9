"""Classes of images: what a row becomes, and each way of being wrong is seen by the measure that is for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from catalog.errors import InputError
from catalog.reading.images import opened
from gates.judging.verdict import judge
from gates.spec import Gates
from gates.tasks.contract import Stored
from tests import pictures
from tests.gates.measured.room import Room, outcomes

pytestmark = pytest.mark.xdist_group("encoders")

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    root = tmp_path_factory.mktemp("pictures")
    pictures.write_files(root)
    return Room(root, "image-classification", pictures.vit, {"rows": pictures.ROWS})


ASKED = {"divergence": {"max_kld": 0.01}, "agreement": {"min_top1": "80%"}, "accuracy": {"min_recovery": "80%"}}


def test_the_original_itself_is_found_to_be_itself(room: Room, tmp_path: Path) -> None:
    evidence = room.evidence("rows", lambda tensors: None, tmp_path)
    assert not [check for check in evidence.checks if not check.passed]
    assert {"processor", "finite"} <= {check.name for check in evidence.checks} and evidence.summary
    values = evidence.summary.values
    assert abs(values["kld"]) < 1e-6 and values["agreement"] == 1 and values["accuracy_original"] > 0.9
    assert set(outcomes(evidence, **ASKED).values()) == {"passed"}


def test_two_classes_swapped(room: Room, tmp_path: Path) -> None:
    def swap(tensors: Tensors) -> None:
        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = tensors[name][[1, 0, 3, 2, *range(4, len(pictures.NAMES))]].contiguous()

    found = outcomes(room.evidence("rows", swap, tmp_path), **ASKED)
    assert found == dict.fromkeys(found, "failed") and set(found) == set(ASKED)


def test_surer_than_the_original_is_another_distribution(room: Room, tmp_path: Path) -> None:
    def sharpen(tensors: Tensors) -> None:
        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = tensors[name] / 3

    found = outcomes(room.evidence("rows", sharpen, tmp_path), **ASKED)
    assert found == {"divergence": "failed", "agreement": "passed", "accuracy": "passed"}


def test_an_artifact_that_sees_other_pixels_is_told_by_its_processor(room: Room, tmp_path: Path) -> None:
    copy = shutil.copytree(room.model, tmp_path / "copy")
    settings = json.loads((copy / "preprocessor_config.json").read_bytes())
    (copy / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0.4, 0.5, 0.5]}))
    evidence = room.evidence("rows", lambda tensors: None, tmp_path)
    told = {check.name: check for check in evidence.checks if not check.passed}
    assert "image_mean is (0.4, 0.5, 0.5)" in told["processor"].detail
    assert not judge(evidence, Gates.model_validate({"perplexity": None})).passed


def test_a_row_is_the_pixels_the_right_way_up(room: Room, tmp_path: Path) -> None:
    row = Stored(room.baseline("rows") / "documents").read(0)
    assert row["pixel_values"].shape == (3, pictures.SIDE, pictures.SIDE) and row["targets"].tolist() == [0]
    image = Image.new("RGB", (4, 2), "red")
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held upright
    image.save(tmp_path / "a.jpg", exif=exif)
    assert opened(tmp_path / "a.jpg").size == (2, 4)


def test_a_picture_that_is_cut_short_is_told_of(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"a\.png: cannot be read as an image"):
        opened(tmp_path / "a.png")
