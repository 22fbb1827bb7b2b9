"""Activations beyond fp16: counted by layer, whatever the function of the model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from gates import entrypoint
from gates.evaluation.activations import Watch
from gates.evaluation.baseline import read_activations
from gates.evidence import Evidence
from gates.judging.verdict import judge
from gates.request import BaselineRequest, Evaluation
from gates.spec import Gates
from tests.gates.artifacts import Tensors, edit_tensors, quantize
from tests.gates.conftest import TOKENS, Bench

FACTOR = 2.0**16
LAYER = "model.layers.1.mlp"
GATES = Gates.model_validate({"overflow": {}, "size": {"max_ratio": 3.0}, "perplexity": {"max_increase": "20%"}})


def scaled(tensors: Tensors) -> Tensors:
    """The same function, to the bit: what one linear gives is larger, and the next takes that back."""
    tensors[f"{LAYER}.up_proj.weight"] *= FACTOR
    tensors[f"{LAYER}.down_proj.weight"] /= FACTOR
    return tensors


@pytest.fixture(scope="module")
def large(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The original with a factor between two linears, its baseline, and an int4 artifact of it."""
    root = tmp_path_factory.mktemp("large")
    model = Path(shutil.copytree(bench.model, root / "model"))
    edit_tensors(model, scaled)
    (root / "baseline").mkdir()
    evaluation = Evaluation(documents=bench.evaluation, tokens=TOKENS)
    entrypoint.run(BaselineRequest(model=model, evaluation=evaluation), root / "baseline")
    return Bench(model, bench.evaluation, root / "baseline", quantize(model, root / "artifact"))


def failed(evidence: Evidence) -> list[str]:
    return [row.name for row in judge(evidence, GATES).gates if row.outcome == "failed"]


def test_nothing_else_sees_it(bench: Bench, large: Bench, tmp_path: Path) -> None:
    before, after = (each.evidence(each.artifact, tmp_path / each.model.parent.name) for each in (bench, large))
    assert before.summary and after.summary
    assert after.summary.values["kld"] == pytest.approx(before.summary.values["kld"], rel=1e-3)
    assert before.activations and before.activations_original and not before.activations.beyond
    assert before.activations.largest == pytest.approx(before.activations_original.largest, rel=0.2)
    assert after.activations and set(after.activations.beyond) == {f"{LAYER}.up_proj", f"{LAYER}.down_proj"}
    assert judge(before, GATES).passed and failed(after) == ["overflow"]
    assert judge(after, GATES.model_copy(update={"overflow": None})).passed


def test_the_graph_is_run_again_for_it(large: Bench, tmp_path: Path) -> None:
    """In IR there are no modules, and operations carry the names of those that they were."""
    from openvino import save_model
    from openvino_tokenizers import convert_tokenizer
    from optimum.intel import OVModelForCausalLM
    from transformers import AutoTokenizer

    OVModelForCausalLM.from_pretrained(large.model, export=True, load_in_8bit=True).save_pretrained(tmp_path / "ir")
    tokenizer = AutoTokenizer.from_pretrained(large.model)
    tokenizer.save_pretrained(tmp_path / "ir")
    for graph, name in zip(convert_tokenizer(tokenizer, with_detokenizer=True), ("", "de"), strict=True):
        save_model(graph, tmp_path / "ir" / f"openvino_{name}tokenizer.xml")
    evidence = large.evidence(tmp_path / "ir", tmp_path / "out", format="openvino", overflow=True)
    original = read_activations(large.baseline)
    assert evidence.activations and original
    assert set(evidence.activations.beyond) == {f"{LAYER}.up_proj", LAYER}
    assert evidence.activations.beyond[f"{LAYER}.up_proj"] == pytest.approx(
        original.beyond[f"{LAYER}.up_proj"], rel=0.02
    )
    assert evidence.activations.largest == pytest.approx(original.largest, rel=0.05)
    assert failed(evidence) == ["overflow"]
    row = next(row for row in judge(evidence, GATES).gates if row.name == "overflow")
    assert (
        row.shown and row.shown.measured == f"{sum(evidence.activations.beyond.values()):,}" and LAYER in row.sentence
    )


def test_what_is_not_shown_is_not_passed(bench: Bench, tmp_path: Path) -> None:
    evidence = bench.evidence(bench.artifact, tmp_path).model_copy(update={"activations": None})
    assert failed(evidence) == ["overflow"]


def test_what_counts() -> None:
    """Not what rows are padded with; infinities and what is no number do."""
    watch = Watch()
    watch.real = torch.tensor([[True, True], [True, False]])
    rows = torch.tensor([[[1.0, -7e4], [2.0, 65504.0]], [[float("inf"), 0.0], [9e9, 9e9]]])
    watch.see("norm", rows, torch.ones(2, 2, dtype=torch.int64))
    watch.see("expert", rows.reshape(4, 2))
    told = watch.told()
    assert told and told.beyond == {"norm": 2, "expert": 2} and told.largest is None
    again = watch.told(told)
    assert again and again.beyond == {"norm": 4, "expert": 4}
    assert type(told).model_validate_json(told.model_dump_json()) == told
    watch = Watch()
    watch.see("linear", torch.tensor([float("nan"), 3.0]))
    told = watch.told()
    assert told and told.beyond == {"linear": 1}
