"""docs/langchain.md: its code runs over pulled releases, and each line of its tables is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from tests.releases import ROOT, say

PAGE = (ROOT / "docs/langchain.md").read_text()
# The arguments of the two classes: langchain-community 0.3 and intel-extension-for-transformers 1.4.
PIPELINE = "model_id task device device_map model_kwargs pipeline_kwargs load_in_4bit load_in_8bit quantization_config"
CONFIG = (
    "llm_int8_skip_modules compute_dtype weight_dtype scale_dtype mse_range use_double_quant double_quant_scale_dtype "
    "group_size scheme algorithm use_ggml use_quant use_gptq use_autoround algorithm_args use_neural_speed low_bit_model "
    "tokenizer calib_func calib_dataset calib_dataloader calib_iters device"
)


def rows(heading: str) -> list[tuple[str, str]]:
    """The rows of the table with that heading: what it was, what it is."""
    _, table = PAGE.split(f"| `{heading}` | here |\n|---|---|\n")
    lines = table.split("\n\n")[0].splitlines()
    return [(old.strip(), new.strip()) for old, new in (line.strip("| ").split(" | ", 1) for line in lines)]


TARGETS = [
    (old, new, fragment)
    for heading in ("WeightOnlyQuantPipeline.from_model_id", "WeightOnlyQuantConfig")
    for old, new in rows(heading)
    for fragment in re.findall(r"`(\{[^`]*\})`", new)
]
SECTIONS = [(old, text) for old, new in rows("WeightOnlyQuantConfig") for text in re.findall(r"`(\w+: \{.*?\})`", new)]


@pytest.mark.slow
@pytest.mark.xdist_group("load")
def test_the_code_of_the_page_runs_over_pulled_releases(released: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    chain, over_pipeline, openvino = say(blocks, tmp_path, HF_HOME=str(released), HF_HUB_OFFLINE="1")
    invoked, batched, streamed = chain.split("\n", 2)
    assert invoked.strip() and repr(invoked) in batched and streamed == invoked
    assert over_pipeline.strip() and "." not in over_pipeline
    by_optimum, by_genai = openvino.splitlines()
    assert by_optimum.strip() and by_optimum == by_genai


@pytest.mark.parametrize(
    ("heading", "arguments"),
    [("WeightOnlyQuantPipeline.from_model_id", PIPELINE), ("WeightOnlyQuantConfig", CONFIG)],
)
def test_every_argument_has_a_row(heading: str, arguments: str) -> None:
    named = {name for old, _ in rows(heading) for name in re.findall(r"`(\w+)", old)}
    assert set(arguments.split()) <= named


@pytest.mark.parametrize(("old", "new", "fragment"), TARGETS)
def test_a_target_of_the_tables_is_taken_or_refused_as_they_say(
    old: str, new: str, fragment: str, tmp_path: Path
) -> None:
    manifest = manifest_with(tmp_path, targets={"target": yaml.safe_load(fragment)})
    if f"`{fragment}` is refused" in new:
        with pytest.raises(ManifestError):
            load(manifest)
    else:
        load(manifest)


@pytest.mark.parametrize(("old", "text"), SECTIONS)
def test_a_section_of_the_tables_is_taken(old: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "calibration.jsonl").write_text('{"text": "One."}\n')
    load(manifest_with(tmp_path, targets={"target": "w4-awq-g128"}, **yaml.safe_load(text)))


def test_transformers_has_no_task_for_summaries() -> None:
    from transformers.pipelines import check_task

    with pytest.raises(KeyError, match="Unknown task"):
        check_task("summarization")


def manifest_with(directory: Path, **sections: Any) -> Path:
    (directory / "model").mkdir()
    manifest = directory / "manifest.yaml"
    manifest.write_text(yaml.safe_dump({"model": {"source": "./model"}, **sections}))
    return manifest
