"""Plans for a model that is asked about images: calibrated on text, in formats whose client sees, and known to `init`."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from flows.planning.first_manifest import first_manifest, task_of_directory
from flows.planning.preflight import check
from flows.store import Store
from tests import encoders, pictures


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seeing")
    pictures.teller(root / "model", steps=0)
    pictures.write_files(root)
    encoders.write_rows(root / "evaluation.jsonl", pictures.ASKED[:4])
    return root


def write(room: Path, preset: str) -> Path:
    path = room / "m.yaml"
    path.write_text(
        "model: {source: ./model, task: image-text-to-text}\nevaluation: {files: [evaluation.jsonl]}\n"
        f"targets: {{t: {preset}}}\n"
    )
    return path


def test_recipes_are_calibrated_on_text_and_ir_is_refused(room: Path) -> None:
    for accepted in ("w4-awq-compensated-asym-g64", "nf4", '{preset: w8-rtn, skip: ["*lm_head*"]}'):
        manifest = load(write(room, accepted))
        check(manifest)
        assert manifest.calibration.column == "text" and manifest.evaluation.column == "image"
    with pytest.raises(
        ManifestError,
        match=r"format openvino is loaded by optimum.intel, which is used for no image text to text here; use format "
        "compressed-tensors or bitsandbytes$",
    ):
        check(load(write(room, "ov-w8-rtn")))


def test_init_knows_what_tells_of_images(room: Path, tmp_path: Path) -> None:
    assert task_of_directory(room / "model") == "image-text-to-text"
    made = first_manifest(str(room / "model"), room / "first.yaml", Store(tmp_path))
    assert {"int8", "nf4"} <= set(made.targets), made
    assert "ov-int8" in dict(made.left_out)
