"""docs/openvino.md: its code runs over pulled releases, and what it says of properties is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from flows.planning.preflight.properties import problem
from tests.releases import MODEL, ROOT, say

PAGE = (ROOT / "docs/openvino.md").read_text()


def write_adapter(path: Path) -> None:
    """Write what peft would: updates of rank 4 of every query projection, large enough to turn choices."""
    config, random = json.loads((MODEL / "config.json").read_text()), np.random.default_rng(0)
    size, tensors = config["hidden_size"], {}
    for layer in range(config["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{name}.lora_A.weight"] = random.normal(size=(4, size)).astype(np.float32) / 8
        tensors[f"{name}.lora_B.weight"] = random.normal(size=(size, 4)).astype(np.float32) / 8
    save_file(tensors, path)


@pytest.mark.slow
@pytest.mark.xdist_group("load")
def test_the_code_of_the_page_runs_over_pulled_releases(released: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter.safetensors")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    said = say(blocks, tmp_path, HF_HOME=str(released), HF_HUB_OFFLINE="1")
    with_properties, streamed, through_template, batched, guessed, adapted = said
    prompt = "Return a list of"
    assert with_properties.startswith(prompt) and any((tmp_path / "model_cache").iterdir())
    assert streamed.strip() and through_template.strip()
    assert repr(streamed) in batched
    same, rate = guessed.split()
    assert same == "True" and 0 < float(rate) <= 100
    with_adapter, without = adapted.splitlines()
    assert with_adapter != without == repr(streamed)


def test_the_properties_of_the_page_take_the_values_that_it_gives() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for name, values in rows:
        for value in re.findall(r"`(\w+)`", values) or ["model_cache"]:
            assert problem("CPU", name, value) is None, (name, value)
