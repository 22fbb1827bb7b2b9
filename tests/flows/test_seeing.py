"""Plans for a model that is asked about images: calibrated on text, as IR if it is a LLaVA, and known to `init`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from flows.planning.first_manifest import first_manifest, task_of_directory
from flows.planning.preflight import check
from flows.store import Store
from tests import encoders, pictures
from tests.quantizers.models import edit_json


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


def test_recipes_are_calibrated_on_text_and_the_graphs_of_other_models_are_not_known(
    room: Path, tmp_path: Path
) -> None:
    for accepted in ("w4-awq-compensated-asym-g64", "nf4", "ov-w4-awq-compensated-asym-g64"):
        manifest = load(write(room, accepted))
        check(manifest)
        assert manifest.calibration.column == "text" and manifest.evaluation.column == "image"
    with pytest.raises(ManifestError, match="no engine but streaming writes the 3 graphs of a llava"):
        check(load(write(room, "ov-w8")))
    shutil.copytree(room / "model", tmp_path / "model")
    shutil.copy(room / "evaluation.jsonl", tmp_path)
    pictures.write_files(tmp_path)
    edit_json(tmp_path / "model/config.json", lambda config: config.update(model_type="llava_next", architectures=None))
    check(load(write(tmp_path, "nf4")))
    with pytest.raises(
        ManifestError,
        match=r"the graphs of llava are written, and not those of a llava_next; use format compressed-tensors or bitsandbytes$",
    ):
        check(load(write(tmp_path, "ov-w8-rtn")))


def test_init_knows_what_tells_of_images(room: Path, tmp_path: Path) -> None:
    assert task_of_directory(room / "model") == "image-text-to-text"
    made = first_manifest(str(room / "model"), room / "first.yaml", Store(tmp_path))
    assert {"int8", "nf4", "ov-int8"} <= set(made.targets), made
