"""docs/transformers.md: its code runs over pulled releases, and what it says of libraries and devices is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from publishers.destinations.local import Local
from tests.releases import ROOT, say

PAGE = (ROOT / "docs/transformers.md").read_text()
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load")]


def test_the_code_of_the_page_runs_over_pulled_releases(released: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    saved, adapted, placed = say(blocks, tmp_path, HF_HOME=str(released), HF_HUB_OFFLINE="1")
    assert saved.splitlines() == ["packed True", "dense True"]
    packed, dense = (tmp_path / name / "model.safetensors" for name in ("packed", "dense"))
    assert packed.stat().st_size < 0.6 * dense.stat().st_size
    assert adapted.split()[1] == "True" and int(adapted.split()[0]) > 0
    assert ("finds no xpu" in placed) is not torch.xpu.is_available()
    assert len(placed.split("Return a list of")[1]) > 12


def test_what_it_says_upstream_does_not_do(released: Path, tmp_path: Path) -> None:
    directory = {name: Local("", released).find(f"acme/demo-{name}").directory for name in ("nf4", "int4")}
    with pytest.raises(NotImplementedError):
        AutoModelForCausalLM.from_pretrained(directory["nf4"]).save_pretrained(tmp_path)
    packed = AutoModelForCausalLM.from_pretrained(directory["int4"])
    with pytest.raises(AttributeError, match="no attribute 'weight'"):
        get_peft_model(packed, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))
