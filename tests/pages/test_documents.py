"""docs/documents: what the founding documents did, step by step, with releases."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

from tests.releases import ROOT, say

SCRIPTS = ("weight_only_langchain", "phi2_openvino", "phi3_xpu", "qlora_cpu")
PROMPT = "Return a list of"


@pytest.mark.slow
@pytest.mark.xdist_group("load")
def test_the_documents_step_by_step(released: Path, tmp_path: Path) -> None:
    folder = ROOT / "docs/documents"
    assert {file.stem for file in folder.glob("*.py")} == set(SCRIPTS)
    scripts = [(folder / f"{name}.py").read_text() for name in SCRIPTS]
    langchain, openvino, gpu, qlora = say(scripts, tmp_path, HF_HOME=str(released), HF_HUB_OFFLINE="1")

    said = dict(line.split(": ", 1) for line in langchain.splitlines())
    whole = ast.literal_eval(said["whole"])
    assert len(whole) > 12 and ast.literal_eval(said["chain"]) == whole
    replies = ast.literal_eval(said["batch"])
    assert len(replies) == 3 and replies[0] == whole.split(".")[0] and not any("." in reply for reply in replies)
    assert "." not in ast.literal_eval(said["openvino"])

    assert "recipe: {'bits': 4, 'group_size': 64" in openvino and "saved: True" in openvino
    streamed = openvino.split("}\n", 1)[1].split("saved:")[0]
    assert len(streamed.strip()) > 12

    assert ("finds no xpu" in gpu) is not torch.xpu.is_available()
    assert "quantized: bitsandbytes nf4" in gpu or "quantized: QuantizationMethod.BITS_AND_BYTES nf4" in gpu
    assert len(gpu.splitlines()[-1].strip()) > 12

    before, after = map(float, re.search(r"loss: (\S+) (\S+)", qlora).groups())  # type: ignore[union-attr]
    assert after < before - 1
    assert (tmp_path / "adapter/adapter_model.safetensors").is_file()
    assert "text: The miller of village 3" in qlora
