"""The presets come with the package, and are listed with what a person chooses by."""

import json
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from catalog.formats import FORMATS
from flows.cli.app import main
from flows.manifest.choosing import bits_per_weight, choice
from flows.manifest.presets import shipped
from tests.flows.conftest import ROOT

BELOW = {"near-lossless": 0.001, "high": 0.006, "good": 0.02, "low": 0.1, "poor": float("inf")}


def test_the_wheel_carries_the_presets(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in ("catalog", "flows", "quantizers", "gates", "publishers"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    program = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    built = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True, check=True)
    wheel = zipfile.ZipFile(tmp_path / built.stdout.splitlines()[-1])
    assert wheel.read("flows/manifest/presets.yaml") == (ROOT / "flows" / "manifest" / "presets.yaml").read_bytes()


@pytest.mark.parametrize("name", shipped().recipes)
def test_bits_are_those_that_are_stored(name: str) -> None:
    recipe = shipped().recipes[name]
    if FORMATS[recipe.format].made_from or recipe.engine != "streaming":
        pytest.skip("stored by another library")
    format_ = import_module(f"quantizers.formats.{recipe.format.replace('-', '_')}")
    rows, columns = 1024, 4096
    slots = format_.slots(rows, columns, recipe, torch.bfloat16)
    stored = sum(torch.empty(slot.shape, dtype=slot.dtype, device="meta").nbytes for slot in slots.values())
    assert bits_per_weight(recipe, columns) == pytest.approx(8 * stored / (rows * columns), rel=0.002)


def test_the_class_of_quality_is_the_one_that_was_measured() -> None:
    measured = json.loads((ROOT / "bench" / "results" / "presets.json").read_text())
    assert len(measured) > 30
    limits = list(BELOW.values())
    for name, kld in measured.items():
        quality = choice(shipped().recipes[name]).quality
        index = limits.index(BELOW[quality])
        assert (limits[index - 1] if index else 0) <= kld < limits[index], (name, kld, quality)


def test_presets_are_listed_with_those_of_targets_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "targets.yaml").write_text("mine: {dtype: int3, group_size: 64}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["presets", "--json"]) == 0
    rows: dict[str, Any] = {row["preset"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == {*shipped().recipes, "mine"}
    assert rows["mine"]["bits_per_weight"] == 3.25
    assert rows["ov-w8-rtn"]["devices"] == ["CPU", "GPU", "NPU"]
    assert rows["w4-teq-g64"]["making"] == "slow"
    assert main(["presets"]) == 0
    shown = capsys.readouterr().out
    assert "targets.yaml" in shown
    assert all(name in shown for name in rows)
