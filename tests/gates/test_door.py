"""The two steps as their parent runs them: a request file in, files out, in a process of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file

from catalog.errors import InputError
from catalog.reading import rows as reading
from gates import entrypoint
from gates.errors import GateError
from gates.evaluation.baseline import read_result
from gates.evidence import Evidence
from gates.judging.verdict import judge
from gates.request import BaselineRequest, Evaluation
from gates.results import Baseline
from gates.spec import Gates
from tests.gates.artifacts import edit_json
from tests.gates.conftest import TOKENS, Bench


def test_fresh_process_gives_the_same_evidence_to_the_byte(bench: Bench, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(bench.request(bench.artifact).model_dump_json())
    done = subprocess.run([sys.executable, "-m", "gates", request, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line)["progress"] for line in done.stdout.splitlines() if line.startswith('{"progress"')]
    assert events[-1]["done"] == events[-1]["total"] and {e["what"] for e in events} >= {"artifact: scoring documents"}
    bench.evidence(bench.artifact, tmp_path / "again")
    for name in ("evidence.json", "result.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    text = (tmp_path / "out" / "evidence.json").read_text()
    assert str(tmp_path) not in text and str(bench.model.parent) not in text


def test_evidence_is_what_the_model_does(bench: Bench, tmp_path: Path) -> None:
    """Perplexities computed here, with transformers alone, equal the recorded ones."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    evidence = bench.evidence(bench.artifact, tmp_path)
    assert evidence.summary is not None
    tokenizer = AutoTokenizer.from_pretrained(bench.artifact)
    for path, dtype, expected in (
        (bench.artifact, "auto", evidence.summary.values["perplexity"]),
        (bench.model, torch.float32, evidence.summary.values["perplexity_original"]),
    ):
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        total = count = 0
        for row in reading.read(bench.evaluation):
            ids = tokenizer(row["text"], truncation=True, max_length=TOKENS, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
        assert expected == pytest.approx(float(torch.tensor(total / count).exp()), rel=2e-3)
    assert evidence.summary.tokens == count
    assert 0 < evidence.summary.values["kld"] < 0.05
    assert evidence.size.ratio == pytest.approx(0.376, abs=0.01)
    assert evidence.samples and evidence.samples[0].artifact


def test_a_model_with_a_template_is_also_scored_in_conversation(bench: Bench, tmp_path: Path) -> None:
    evidence = bench.evidence(bench.artifact, tmp_path)
    assert len(evidence.chat) == 12 and evidence.chat_summary is not None
    assert evidence.chat_summary.tokens == sum((d.tokens + 2) // 2 for d in evidence.documents)
    assert {"chat.divergence", "chat.perplexity"} <= {row.name for row in judge(evidence, Gates()).gates}


def test_unchanged_original_passes_gates_of_bf16_rounding(bench: Bench, tmp_path: Path) -> None:
    evidence = bench.evidence(bench.model, tmp_path, format="transformers")
    gates = {"divergence": {"max_kld": 1e-3}, "perplexity": {"max_increase": 5e-3}, "size": {"max_ratio": 1.0}}
    assert judge(evidence, Gates.model_validate(gates)).passed


def test_a_second_look_carries_the_first_over(bench: Bench, tmp_path: Path) -> None:
    few = Evaluation(documents=bench.evaluation, tokens=TOKENS, max_documents=8)
    first = bench.evidence(bench.artifact, tmp_path / "first", evaluation=few)
    assert (first.looks, first.available, len(first.documents)) == ((8,), 12, 8)
    second = bench.evidence(bench.artifact, tmp_path / "second", previous=tmp_path / "first")
    whole = bench.evidence(bench.artifact, tmp_path / "whole")
    assert second.looks == (8, 12) and second.documents == whole.documents and second.summary == whole.summary
    assert second.activations == whole.activations and whole.activations
    with pytest.raises(GateError, match="already holds 12 documents"):
        bench.evidence(bench.artifact, tmp_path / "third", previous=tmp_path / "second")


def test_baseline_says_what_it_holds(bench: Bench) -> None:
    result = read_result(bench.baseline)
    assert isinstance(result, Baseline)
    assert (result.documents, result.row_tokens, result.vocabulary) == (12, TOKENS, 2048)
    assert result.tokens == sum(len(load_file(path)["loss"]) for path in (bench.baseline / "documents").iterdir())
    assert len(list((bench.baseline / "documents").iterdir())) == 12


def test_documents_that_predict_nothing_are_left_out(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.jsonl"
    path.write_text('{"text": ""}\n{"text": "a b c d"}\n{"text": "a b c d"}\n\n{"text": "e f g h"}\n')
    (tmp_path / "out").mkdir()
    result = entrypoint.run(BaselineRequest(model=bench.model, evaluation=Evaluation(documents=path)), tmp_path / "out")
    assert isinstance(result, Baseline) and (result.documents, result.left_out) == (2, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "holds no document"),
        ('{"text": "a"}\nnot json\n', r":2: not JSON"),
        ('{"body": "a"}\n', r":1: no string under the key text"),
        ('{"text": ""}\n', "no document has two tokens"),
    ],
)
def test_texts_at_fault(content: str | None, message: str, bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        entrypoint.run(BaselineRequest(model=bench.model, evaluation=Evaluation(documents=path)), tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("without", "wants tensor model.layers.1.mlp.up_proj.weight [256, 128], not in the weights"),
        ("layers", "wants tensor model.layers.2.self_attn.q_proj.weight [128, 128] and 8 more, not in the weights"),
        (
            "width",
            "tensor model.layers.0.mlp.gate_proj.weight and 5 more is [256, 128], and config.json wants [192, 128]",
        ),
        ("more", "has no place for tensor model.layers.9.mlp.up_proj.weight."),
    ],
)
def test_an_original_that_does_not_fit_its_configuration(change: str, says: str, bench: Bench, tmp_path: Path) -> None:
    """The first tensor at fault is named with its shape; nothing of the table that the loader draws for a terminal."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = tmp_path / "model"
    sizes = {"vocab_size": 2048, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    original = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2))
    state = original.state_dict()
    if change == "without":
        del state["model.layers.1.mlp.up_proj.weight"]
    if change == "more":
        state["model.layers.9.mlp.up_proj.weight"] = state["model.layers.1.mlp.up_proj.weight"].clone()
    original.save_pretrained(model, state_dict=state)
    changed = {"layers": {"num_hidden_layers": 3}, "width": {"intermediate_size": 192}}
    edit_json(model / "config.json", lambda config: config | changed.get(change, {}))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bench.model / file, model)
    request = BaselineRequest(model=model, evaluation=Evaluation(documents=bench.evaluation, tokens=TOKENS))
    with pytest.raises(GateError) as caught:
        entrypoint.run(request, tmp_path / "out")
    assert says in str(caught.value), str(caught.value)
    assert "\x1b" not in str(caught.value) and "REPORT" not in str(caught.value)


def test_requests_at_fault(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="no finished baseline"):
        bench.evidence(bench.artifact, tmp_path, baseline=tmp_path)
    with pytest.raises(ValidationError, match="'compressed-tensors', 'bitsandbytes'"):
        bench.evidence(bench.artifact, tmp_path, format="pickle")


def test_absent_artifact_is_evidence_against_it(bench: Bench, tmp_path: Path) -> None:
    evidence = bench.evidence(tmp_path / "nothing", tmp_path / "out")
    assert isinstance(evidence, Evidence) and judge(evidence, Gates()).outcome == "failed"
