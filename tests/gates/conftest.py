from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gates import entrypoint
from gates.evidence import Evidence
from gates.judging.verdict import judge
from gates.request import BaselineRequest, Evaluation, EvidenceRequest
from gates.results import Verdict
from gates.spec import Gates
from tests import encoders, recallers
from tests.gates.artifacts import edit_json, pack, quantize

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


@pytest.fixture(scope="session")
def packed_artifact(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original in nf4."""
    out = tmp_path_factory.mktemp("packed") / "artifact"
    shutil.copytree(bench.model, out, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    return pack(bench.model, out)


@pytest.fixture(scope="session")
def exported(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original as IR, its weights rounded to eight bits by the exporter."""
    from openvino import save_model
    from openvino_tokenizers import convert_tokenizer
    from optimum.intel import OVModelForCausalLM
    from transformers import AutoTokenizer

    out = tmp_path_factory.mktemp("openvino")
    OVModelForCausalLM.from_pretrained(bench.model, export=True, load_in_8bit=True).save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(bench.model)
    tokenizer.save_pretrained(out)
    for graph, name in zip(
        convert_tokenizer(tokenizer, with_detokenizer=True), ("tokenizer", "detokenizer"), strict=True
    ):
        save_model(graph, out / f"openvino_{name}.xml")
    return out


@pytest.fixture
def copy(bench: Bench, tmp_path: Path) -> Path:
    """A sound artifact to break."""
    return Path(shutil.copytree(bench.artifact, tmp_path / "artifact"))


def read(path: Path) -> dict:
    return json.loads(path.read_text())


LONG = {"lengths": [128, 256], "rows": 16, "facts": 4}
"""Long rows of the model that recalls."""


@dataclass(frozen=True)
class Recalling:
    """A trained original that recalls planted facts, with its baseline on 40 short documents and on long rows."""

    model: Path
    evaluation: Path
    baseline: Path

    def evidence(self, artifact: Path, out: Path, **options: object) -> Evidence:
        out.mkdir(parents=True, exist_ok=True)
        fields: dict[str, object] = {
            **{"model": self.model, "artifact": artifact, "format": "transformers", "baseline": self.baseline},
            **{"evaluation": Evaluation(documents=self.evaluation, tokens=48), "measured": {"long_context": LONG}},
        }
        evidence = entrypoint.run(EvidenceRequest.model_validate(fields | options), out)
        assert isinstance(evidence, Evidence)
        return evidence


@pytest.fixture(scope="session")
def recalling(tmp_path_factory: pytest.TempPathFactory) -> Recalling:
    root = tmp_path_factory.mktemp("recalling")
    recallers.recaller(root / "model")
    rows = encoders.write_rows(root / "evaluation.jsonl", recallers.texts(40, 31))
    (root / "baseline").mkdir()
    evaluation = Evaluation(documents=rows, tokens=48)
    asked = BaselineRequest(model=root / "model", evaluation=evaluation, measured={"long_context": LONG})
    entrypoint.run(asked, root / "baseline")
    return Recalling(root / "model", rows, root / "baseline")


@pytest.fixture
def copied(recalling: Recalling, tmp_path: Path) -> Callable[[Callable[[Path], object]], Path]:
    """A copy of that model, broken."""

    def broken(breaks: Callable[[Path], object]) -> Path:
        copy = Path(shutil.copytree(recalling.model, tmp_path / "artifact"))
        breaks(copy)
        return copy

    return broken
