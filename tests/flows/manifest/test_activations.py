"""Activations in int8: for encoders, by the engine that finds their ranges."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from flows.manifest.presets import name_of, shipped
from quantizers.recipe import Recipe

W8A8 = {"engine": "nncf", "format": "openvino", "dtype": "int8", "group_size": -1, "activations": "int8"}


def test_the_preset_is_named_by_its_parts_and_reads_text() -> None:
    recipe = shipped().recipes["ov-w8a8"]
    assert recipe == Recipe(**W8A8) and name_of(recipe) == "ov-w8a8" and recipe.calibrated


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine": "streaming"}, "activations int8 are for engine nncf and dtype int8"),
        ({"dtype": "int4", "group_size": 64}, "activations int8 are for engine nncf and dtype int8"),
        ({"symmetric": False}, "leave symmetric as it is"),
        ({"rounding": "compensated"}, "rounded to nearest and nothing else"),
    ],
)
def test_what_it_is_not_for_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Recipe(**W8A8 | change)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["text-generation", "text2text-generation"])
def test_a_task_that_no_encoder_does_is_refused_and_its_line_named(task: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    manifest = tmp_path / "m.yaml"
    manifest.write_text(f"model: {{source: ./model, task: {task}}}\ntargets:\n  fast: ov-w8a8\n")
    with pytest.raises(ManifestError, match=r"m\.yaml:3: targets\.fast: has activations in int8 .* for encoders"):
        load(manifest)
