"""The second loader: IR with its tokenizer graphs, in optimum-intel."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from catalog.errors import EnvironmentFault
from catalog.runtime import RuntimeOptions
from gates.clients import client, graph_weights, optimum_intel
from gates.errors import GateError
from gates.evaluation import drafting
from gates.evaluation.speed import measure
from gates.evidence import Evidence
from gates.judging.verdict import judge
from gates.kinds.acceptance import Acceptance
from gates.safeguards.control import spoil
from gates.spec import Gates
from tests.gates.conftest import Bench

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ir")]
GATES = Gates.model_validate({"size": {"max_ratio": 3.0}, "perplexity": {"max_increase": "5%"}})


def score(bench: Bench, artifact: Path, out: Path) -> Evidence:
    return bench.evidence(artifact, out, format="openvino")


def caught(evidence: Evidence) -> set[str]:
    return {
        gate.name
        for gate in judge(evidence, GATES).gates
        if gate.outcome == "failed" and "reached" not in gate.sentence
    }


def test_sound_ir_passes(bench: Bench, exported: Path, tmp_path: Path) -> None:
    evidence = score(bench, exported, tmp_path)
    assert judge(evidence, GATES).passed, judge(evidence, GATES).sentence
    checks = {check.name: check for check in evidence.checks}
    assert checks["ir-tokenizer"].passed and "29 linear weights" in checks["weights"].detail
    assert evidence.runtime["EXECUTION_DEVICES"] and evidence.summary and 0 < evidence.summary.values["kld"] < 0.01


def test_it_runs_with_what_the_target_says(
    bench: Bench, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runtime = {"compute": "fp32", "ov_config": {"KV_CACHE_PRECISION": "f32", "CACHE_DIR": "cache"}}
    evidence = bench.evidence(exported, tmp_path / "out", format="openvino", runtime=runtime)
    assert judge(evidence, GATES).passed, judge(evidence, GATES).sentence
    assert evidence.runtime["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == "0"
    assert "float" in evidence.runtime["KV_CACHE_PRECISION"] and "float" in evidence.runtime["INFERENCE_PRECISION_HINT"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "what is compiled stays nowhere"


def test_a_cache_of_too_few_bits_is_caught_where_the_mean_reads_none(
    bench: Bench, exported: Path, tmp_path: Path
) -> None:
    """Documents are read at once, past the cache; what is generated goes through it. Eight bits, the default, are enough."""
    plain, gates = (Gates.model_validate({"size": None, **more}) for more in ({}, {"generation": {"min_tokens": 12}}))
    seen = {
        bits: bench.evidence(
            exported, tmp_path / bits, format="openvino", runtime={"ov_config": {"KV_CACHE_PRECISION": bits}}
        )
        for bits in ("u8", "u4")
    }
    assert seen["u4"].documents == seen["u8"].documents and judge(seen["u4"], plain).passed
    verdicts = {bits: judge(evidence, gates) for bits, evidence in seen.items()}
    assert verdicts["u8"].passed, verdicts["u8"].sentence
    assert verdicts["u4"].sentence.startswith("Failed at generation"), verdicts["u4"].sentence


def test_a_device_that_is_not_there_is_no_verdict(bench: Bench, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="NPU"):
        bench.evidence(exported, tmp_path / "out", format="openvino", runtime={"device": "NPU"})
    assert not list((tmp_path / "out").iterdir())


def test_ir_without_its_detokenizer(bench: Bench, exported: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    (copy / "openvino_detokenizer.xml").unlink()
    assert "sanity.files" in caught(score(bench, copy, tmp_path / "out"))


def test_ir_with_another_tokenizer(bench: Bench, exported: Path, tmp_path: Path) -> None:
    from openvino import save_model
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoTokenizer

    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    other = AutoTokenizer.from_pretrained(bench.model).train_new_from_iterator(["other text than before"] * 20, 400)
    save_model(convert_tokenizer(other), copy / "openvino_tokenizer.xml")
    assert caught(score(bench, copy, tmp_path / "out")) == {"sanity.ir-tokenizer"}


def test_one_flipped_scale_in_the_ir(bench: Bench, exported: Path, tmp_path: Path) -> None:
    """Found in the .bin by its bytes: a scale is stored in half precision, and its sign is one bit."""
    import openvino

    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    graph = openvino.Core().read_model(copy / "openvino_model.xml")
    scale = next(
        op
        for op in graph.get_ordered_ops()
        if "q_proj" in op.get_friendly_name() and op.get_friendly_name().endswith("/scale")
    )
    stored = scale.data.tobytes()
    path = copy / "openvino_model.bin"
    content = bytearray(path.read_bytes())
    del graph, scale
    at = content.index(stored)
    content[at + 2 * 5 + 1] ^= 0x80
    path.write_bytes(content)
    assert "sanity.weights" in caught(score(bench, copy, tmp_path / "out"))


def test_its_speed_is_measured_in_genai_too(bench: Bench, exported: Path) -> None:
    options = RuntimeOptions(ov_config={"INFERENCE_PRECISION_HINT": "f32"})
    speed = measure(bench.model, exported, "openvino", options, "text-generation", list(range(5, 45)), turns=1)
    (genai,) = speed.elsewhere.values()
    assert speed.elsewhere.keys() == {"OpenVINO GenAI"} and genai.resident_bytes > 1e7
    assert min(genai.first_seconds + genai.decode_seconds) > 0 and genai.threads is None
    assert speed.threads and speed.threads_original


def test_logits_at_places_of_a_row_in_parts(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before is read from the cache, which is rounded to eight bits on a CPU by default."""
    monkeypatch.setattr(optimum_intel, "AT_ONCE", 32)
    loaded = client.load(exported, "openvino", RuntimeOptions(), "text-generation")
    assert 1 <= loaded.threads <= (os.cpu_count() or 1) and "INFERENCE_NUM_THREADS" not in loaded.runtime
    ids, places = torch.arange(5, 85), torch.tensor([3, 31, 32, 79])
    parts, whole = (
        logits.float().softmax(-1) for logits in (loaded.logits_at(ids, places), loaded.logits(ids)[places])
    )
    assert parts.shape == whole.shape and (parts - whole).abs().max() < 0.02
    assert torch.equal(parts, loaded.logits_at(ids, places).float().softmax(-1)), "the cache begins empty each time"


def test_a_large_weight_is_unpacked_in_parts(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = client.load(exported, "openvino", RuntimeOptions(), "text-generation")
    whole = dict(loaded.weights())
    monkeypatch.setattr(graph_weights, "AT_ONCE_WEIGHTS", 300 * 256)
    parts: dict[str, list[torch.Tensor]] = {}
    for name, rows in loaded.weights():
        parts.setdefault(name, []).append(rows)
    assert parts.keys() == whole.keys() and max(map(len, parts.values())) == 7
    for name, dense in whole.items():
        torch.testing.assert_close(torch.cat(parts[name]), dense, rtol=0, atol=0)


def test_a_draft_that_says_something_else_is_refused_by_its_gate_alone(
    bench: Bench, exported: Path, tmp_path: Path
) -> None:
    spoil(exported, tmp_path / "spoiled", "openvino")
    gates = GATES.model_copy(update={"acceptance": Acceptance(min_rate=0.6)})
    rates = {}
    for name, draft in (("twin", exported), ("spoiled", tmp_path / "spoiled")):
        told = {"directory": draft, "candidates": 4}
        evidence = bench.evidence(exported, tmp_path / name, format="openvino", draft=told)
        refused = [row.name for row in judge(evidence, gates).gates if row.outcome != "passed"]
        assert refused == ([] if name == "twin" else ["acceptance"])
        rows = evidence.measured["acceptance"]
        rates[name] = sum(row.sums["accepted"] for row in rows) / sum(row.tokens for row in rows)
        assert len(rows) == 12 and evidence.tools["openvino-genai"] != "absent"
    assert rates["twin"] > 0.85 and rates["spoiled"] < 0.3, rates


def test_a_draft_that_is_gone_is_nobodys_verdict(bench: Bench, exported: Path, tmp_path: Path) -> None:
    request = bench.request(exported, format="openvino", draft={"directory": tmp_path / "gone", "candidates": 4})
    with pytest.raises(GateError, match="no longer there"):
        drafting.measure(request)
