from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from gates import entrypoint
from gates.evidence import Evidence
from gates.judging.verdict import judge
from gates.request import BaselineRequest, Evaluation, EvidenceRequest
from gates.results import Verdict
from gates.spec import Gates
from tests.gates.artifacts import edit_json, quantize

DEMO = Path(__file__).parents[2] / "manifests" / "demo"
TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
TOKENS = 96


@dataclass(frozen=True)
class Bench:
    """A trained original with its baseline on 12 documents, and a sound int4 artifact of it."""

    model: Path
    evaluation: Path
    baseline: Path
    artifact: Path

    def request(self, artifact: Path, **options: object) -> EvidenceRequest:
        fields: dict[str, object] = {
            "model": self.model,
            "artifact": artifact,
            "format": "compressed-tensors",
            "baseline": self.baseline,
            "evaluation": Evaluation(documents=self.evaluation, tokens=TOKENS),
        }
        return EvidenceRequest.model_validate(fields | options)

    def evidence(self, artifact: Path, out: Path, **options: object) -> Evidence:
        out.mkdir(parents=True, exist_ok=True)
        evidence = entrypoint.run(self.request(artifact, **options), out)
        assert isinstance(evidence, Evidence)
        return evidence

    def verdict(self, artifact: Path, out: Path, **options: object) -> Verdict:
        return judge(self.evidence(artifact, out, **options), Gates())


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    root = tmp_path_factory.mktemp("gates")
    model, evaluation, baseline = root / "model", root / "evaluation.jsonl", root / "baseline"
    shutil.copytree(DEMO / "model", model)
    edit_json(model / "tokenizer_config.json", lambda config: config | {"chat_template": TEMPLATE})
    lines = (DEMO / "evaluation.jsonl").read_text().splitlines()[:12]
    evaluation.write_text("\n".join(lines) + "\n")
    baseline.mkdir()
    entrypoint.run(BaselineRequest(model=model, evaluation=Evaluation(documents=evaluation, tokens=TOKENS)), baseline)
    return Bench(model, evaluation, baseline, quantize(model, root / "artifact"))


@pytest.fixture
def copy(bench: Bench, tmp_path: Path) -> Path:
    """A sound artifact to break."""
    return Path(shutil.copytree(bench.artifact, tmp_path / "artifact"))


def read(path: Path) -> dict:
    return json.loads(path.read_text())
