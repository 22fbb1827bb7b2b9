from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from gates import entrypoint
from gates.errors import GateError
from gates.judging.verdict import judge
from gates.request import BaselineRequest, Evaluation
from gates.spec import Gates
from tests.gates.artifacts import Tensors, quantize
from tests.gates.conftest import DEMO, TOKENS, Bench

pytestmark = pytest.mark.xdist_group("tasks")

TASK = """
task: order
dataset_path: json
dataset_kwargs: {data_files: {test: items.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{context}}"
doc_to_choice: "{{[good, bad]}}"
doc_to_target: 0
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
metadata: {version: 1}
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tell how a sentence goes on from the same words in reverse: a local task file with its items beside it."""
    root = tmp_path_factory.mktemp("task")
    texts = [json.loads(line)["text"].split() for line in (DEMO / "evaluation.jsonl").read_text().splitlines()]
    rows = [words[start : start + 14] for words in texts for start in (0, 20)][:60]
    items = [{"context": " ".join(w[:10]), "good": " ".join(w[10:]), "bad": " ".join(w[10:][::-1])} for w in rows]
    (root / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (root / "order.yaml").write_text(TASK)
    return root / "order.yaml"


@pytest.fixture(scope="module")
def asked(bench: Bench, task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline that answered the task."""
    out = tmp_path_factory.mktemp("baseline")
    evaluation = Evaluation(documents=bench.evaluation, tokens=TOKENS, max_documents=8)
    tasks = [{"name": "order", "file": str(task)}]
    entrypoint.run(
        BaselineRequest.model_validate({"model": bench.model, "evaluation": evaluation, "tasks": tasks}), out
    )
    return out


def gates(recovery: float) -> Gates:
    return Gates.model_validate({"perplexity": None, "tasks": {"order": {"min_recovery": recovery}}})


def test_recovery_is_judged_on_the_same_items(bench: Bench, task: Path, asked: Path, tmp_path: Path) -> None:
    tasks = [{"name": "order", "file": str(task)}]
    evidence = bench.evidence(bench.artifact, tmp_path, baseline=asked, tasks=tasks)
    scores = evidence.tasks["order"]
    assert len(scores.original) == len(scores.artifact) == 60 and sum(scores.original) > 40
    assert scores.metric == "acc" and scores.configuration["fewshot"] == 0 and not scores.identical
    assert scores.mcnemar_p is not None and scores.mcnemar_p > 0.05
    assert judge(evidence, gates(0.5)).passed
    # Sixty items cannot show that nothing at all was lost.
    strict = judge(evidence, gates(1.0))
    assert not strict.passed and "recovery on order" in strict.sentence


def test_a_broken_artifact_loses_items(bench: Bench, task: Path, asked: Path, tmp_path: Path) -> None:
    def worse(tensors: Tensors) -> Tensors:
        generator = random.Random(0)
        return {
            name: t[generator.sample(range(len(t)), len(t))] if name.endswith("proj.weight") else t
            for name, t in tensors.items()
        }

    artifact = quantize(bench.model, tmp_path / "artifact", worse)
    tasks = [{"name": "order", "file": str(task)}]
    evidence = bench.evidence(artifact, tmp_path / "out", baseline=asked, tasks=tasks)
    rows = {row.name: row.outcome for row in judge(evidence, gates(0.9)).gates}
    assert rows["tasks.order"] == "failed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fewshot": 1}, "not asked the same questions"),
        ({"items": 30}, "not asked the same questions"),
        ({"file": "missing.yaml"}, "there is no file"),
        ({"name": "nosuch"}, "cannot be put to the model"),
    ],
)
def test_tasks_at_fault(change: dict, message: str, bench: Bench, task: Path, asked: Path, tmp_path: Path) -> None:
    tasks = [{"name": "order", "file": str(task)} | change]
    with pytest.raises(GateError, match=message):
        bench.evidence(bench.artifact, tmp_path, baseline=asked, tasks=tasks)


def test_a_tolerance_is_no_part_of_what_is_scored() -> None:
    first, second = gates(0.9).tasks["order"], gates(0.99).tasks["order"]
    assert first.configuration() == second.configuration()
    assert "min_recovery" not in first.configuration().model_dump()
