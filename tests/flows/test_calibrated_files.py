"""Rows that name files calibrate as they evaluate: what is refused, what keys hold, and that no file is in both sets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from flows.execution import requests
from flows.execution.contamination import compared
from flows.execution.steps import perform
from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from flows.planning.cost import quantizing
from flows.planning.jobs import Job, jobs
from flows.planning.preflight import check
from flows.planning.preflight.planned import check_calibration
from flows.planning.sources import Sources
from flows.store import Store
from gates.errors import GateError
from gates.safeguards.contamination import twins
from tests import encoders, pictures


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seen")
    pictures.vit(root / "model", steps=0)
    pictures.write_files(root)
    encoders.write_rows(root / "evaluation.jsonl", pictures.ROWS)
    encoders.write_rows(root / "calibration.jsonl", pictures.CALIBRATION)
    return root


@pytest.fixture
def room(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "room")


def write(room: Path, calibration: str = "calibration: {files: [calibration.jsonl]}") -> Path:
    path = room / "m.yaml"
    path.write_text(
        f"model: {{source: ./model, task: image-classification}}\n{calibration}\n"
        "evaluation: {files: [evaluation.jsonl]}\ntargets: {w8a8: ov-w8a8, int8: ov-w8-rtn}\n"
    )
    return path


def job(path: Path, home: Path) -> Job:
    store = Store(home)
    return jobs(load(path), Sources(store, store.hashes), "")[0]


def keys(path: Path, home: Path) -> list[str]:
    store = Store(home)
    made = jobs(load(path), Sources(store, store.hashes), "")
    return [each.quantize(each.target.rungs[0]).key for each in made]


def text(room: Path) -> None:
    encoders.write_rows(room / "calibration.jsonl", [{"text": "a mill turns"}])


def absent(room: Path) -> None:
    (room / pictures.CALIBRATION[3]["image"]).unlink()


def sound(room: Path) -> None:
    (room / pictures.CALIBRATION[3]["image"]).write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")


def shared(room: Path) -> None:
    shutil.copy(room / pictures.ROWS[5]["image"], room / pictures.CALIBRATION[2]["image"])


def nothing(room: Path) -> None:
    """Leave it as it is."""


@pytest.mark.parametrize(
    ("arrange", "calibration", "says"),
    [
        (
            nothing,
            "",
            r"targets\.w8a8: is calibrated, for image classification on rows that begin with the name of an image",
        ),
        (nothing, "calibration: {files: [notes.txt]}", "is text, and models for image classification read rows"),
        (
            text,
            None,
            r"'image' is to hold a name of an image file, and holds nothing; recipes for this task are calibrated on",
        ),
        (absent, None, r"read/003\.png, which is no file"),
        (sound, None, r"read/003\.png is no image in PNG"),
        (shared, None, r"1 of its 96 documents are in the calibration file calibration\.jsonl, too"),
        (
            nothing,
            "calibration: {files: [calibration.jsonl], columns: {label: label}}",
            "no column that recipes for image",
        ),
    ],
)
def test_a_plan_refuses(room: Path, arrange: Callable[[Path], None], calibration: str | None, says: str) -> None:
    (room / "notes.txt").write_text("a mill\n\nturns\n")
    arrange(room)
    with pytest.raises(ManifestError, match=says):
        check(load(write(room) if calibration is None else write(room, calibration)))


def test_samples_that_are_asked_for_must_be_there(room: Path, tmp_path: Path) -> None:
    check_calibration(job(write(room), tmp_path / "home"), Store(tmp_path / "home"))
    asked = write(room, "calibration: {files: [calibration.jsonl], samples: 64}")
    with pytest.raises(ManifestError, match=r"calibration\.samples: asks for 64 rows, and there are 48"):
        check_calibration(job(asked, tmp_path / "home"), Store(tmp_path / "home"))


def test_a_file_that_changes_makes_anew_what_was_calibrated_on_it(room: Path, tmp_path: Path) -> None:
    calibrated, plain = keys(write(room), tmp_path / "home")
    Image.new("RGB", (pictures.SIDE, pictures.SIDE), "red").save(room / pictures.CALIBRATION[3]["image"])
    again, same = keys(write(room), tmp_path / "home")
    assert again != calibrated and same == plain


def test_more_files_cost_more(room: Path, tmp_path: Path) -> None:
    costs = []
    for samples in (8, 48):
        path = write(room, f"calibration: {{files: [calibration.jsonl], samples: {samples}}}")
        path.write_text(path.read_text().replace("ov-w8a8", "nf4-awq"))
        made = job(path, tmp_path / "home")
        costs.append(quantizing([(made, made.target.rungs[0])]))
    assert costs[0].memory_bytes < costs[1].memory_bytes and costs[0].seconds < costs[1].seconds


def test_a_picture_in_both_sets_is_found_in_another_format_under_another_name(room: Path, tmp_path: Path) -> None:
    with Image.open(room / pictures.ROWS[5]["image"]) as image:
        image.save(room / "read/other.bmp")
    encoders.write_rows(room / "calibration.jsonl", [*pictures.CALIBRATION, {"image": "read/other.bmp"}])
    path, store = write(room), Store(tmp_path / "home")
    check(load(path))
    made = job(path, store.home)
    assert made.calibration
    for step, source in ((made.evaluation, made.manifest.evaluation), (made.calibration, made.manifest.calibration)):
        perform(store, step, "rows", requests.texts(step, source, made.original.task, store))
    with pytest.raises(
        GateError, match=r"evaluation\.jsonl: row 6 holds what a row of calibration \(calibration\.jsonl: row 49\) does"
    ):
        compared(made, store)


def test_files_apart_are_counted() -> None:
    assert twins([("a", "1"), ("b", "2")], [("c", "3"), ("d", "4"), ("e", "4")]).documents == 3
    with pytest.raises(GateError, match=r"d holds what a row of calibration \(b\) does"):
        twins([("a", "1"), ("b", "2")], [("c", "3"), ("d", "2")])
