from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from catalog.tasks import TASKS
from gates.evidence import Check, Document, Evidence, Sizes, Speed, TaskScores
from gates.judging.summary import summarize
from gates.judging.verdict import judge
from gates.spec import Gates

SANITY = TASKS["text-generation"].sanity
SOUND = tuple(Check(name=name, passed=True, detail="fine") for name in SANITY)
OFF: dict[str, Any] = {"divergence": None, "perplexity": None, "size": None}


def documents(
    count: int, kld: float = 0.0, change: float = 0.0, spread: float = 0.3, seed: int = 0
) -> tuple[Document, ...]:
    """Documents of 100 tokens whose mean divergence and loss change per token are `kld` and `change`."""
    noise = np.random.default_rng(seed).normal(0, spread, count)
    noise -= noise.mean()
    return tuple(
        Document(
            index=i,
            tokens=100,
            sums={
                "loss_original": 300.0,
                "loss": 300.0 + 100 * change * (1 + n),
                "kld": 100 * kld * (1 + n),
                "agree": 95,
                "lost": 2,
                "gained": 1,
            },
        )
        for i, n in enumerate(noise)
    )


def evidence(rows: tuple[Document, ...], **changes: Any) -> Evidence:
    fields: dict[str, Any] = {
        "format": "compressed-tensors",
        "loader": "transformers.AutoModelForCausalLM",
        "row_tokens": 128,
        "available": len(rows),
        "looks": (len(rows),),
        "documents": rows,
        "summary": summarize(rows, "text-generation"),
        "size": Sizes(original_bytes=100, artifact_bytes=40, expected_bytes=40, ratio=0.4),
        "checks": SOUND,
    }
    return Evidence.model_validate(fields | changes)


def outcome(measured: Evidence, gate: str, **gates: Any) -> str:
    return next(row.outcome for row in judge(measured, Gates.model_validate(OFF | gates)).gates if row.name == gate)


@pytest.mark.parametrize(
    ("kld", "expected"),
    [(0.0, "passed"), (0.025, "passed"), (0.0499, "undecided"), (0.0501, "failed"), (0.1, "failed")],
)
def test_a_gate_passes_only_when_its_bound_is_within(kld: float, expected: str) -> None:
    assert outcome(evidence(documents(40, kld=kld)), "divergence", divergence={"max_kld": 0.05}) == expected


@pytest.mark.parametrize(
    ("change", "expected"), [(-0.01, "passed"), (0.01, "passed"), (0.0295, "undecided"), (0.04, "failed")]
)
def test_perplexity(change: float, expected: str) -> None:
    assert outcome(evidence(documents(40, change=change)), "perplexity", perplexity={"max_increase": "3%"}) == expected


def test_identical_copy_passes_the_tightest_gates() -> None:
    verdict = judge(
        evidence(documents(8)),
        Gates.model_validate({"divergence": {"max_kld": 1e-9}, "perplexity": {"max_increase": 1e-9}}),
    )
    assert verdict.passed and verdict.outcome == "passed"


def test_undecided_asks_for_more_only_while_there_is_more() -> None:
    rows = documents(40, kld=0.0499)
    gates = Gates.model_validate(OFF | {"divergence": {"max_kld": 0.05}})
    last, first = judge(evidence(rows), gates), judge(evidence(rows, available=160), gates)
    assert (last.outcome, last.more, last.passed) == ("undecided", False, False)
    assert (first.outcome, first.more, first.passed) == ("undecided", True, False)
    assert "120 more documents" in first.sentence and "no more documents" in last.sentence


def test_unlucky_start_is_undecided_while_there_is_more() -> None:
    rows = documents(40, kld=0.0505)
    assert outcome(evidence(rows, available=1000), "divergence", divergence={"max_kld": 0.05}) == "undecided"
    assert outcome(evidence(rows), "divergence", divergence={"max_kld": 0.05}) == "failed"
    assert (
        outcome(evidence(documents(40, kld=0.1), available=160), "divergence", divergence={"max_kld": 0.05}) == "failed"
    )


@pytest.mark.parametrize("name", SANITY)
def test_no_threshold_overrides_a_check(name: str) -> None:
    rows = documents(40)
    broken = tuple(c.model_copy(update={"passed": False, "detail": "broken"}) if c.name == name else c for c in SOUND)
    for checks in (broken, tuple(c for c in SOUND if c.name != name)):
        verdict = judge(evidence(rows, checks=checks), Gates.model_validate(OFF))
        assert verdict.outcome == "failed" and f"sanity.{name}" in verdict.sentence


def test_nothing_measured_is_a_failure() -> None:
    empty = evidence((), summary=None, available=40, looks=(40,))
    gates = {"agreement": {"min_top1": 0.5}, "tasks": {"arc_easy": {}}, "speed": {}}
    verdict = judge(empty, Gates.model_validate(gates))
    failed = {row.name for row in verdict.gates if row.outcome == "failed"}
    assert failed == {"divergence", "perplexity", "agreement", "tasks.arc_easy", "speed"}


@pytest.mark.parametrize("kld", [0.01, 0.2])
def test_one_document_decides_nothing_and_the_verdict_says_why(kld: float) -> None:
    verdict = judge(evidence(documents(1, kld=kld)), Gates.model_validate(OFF | {"divergence": {"max_kld": 0.05}}))
    assert (verdict.outcome, verdict.passed, verdict.more) == ("undecided", False, False)
    assert f"KL divergence {kld:g} nats, which 1 document cannot bound at 95.0% confidence" in verdict.sentence
    assert "give more evaluation text" in verdict.sentence


def test_gates_and_checks_are_counted_apart() -> None:
    measured = evidence(documents(40))
    asked = OFF | {"agreement": {"min_top1": "94%"}, "size": {"max_ratio": 0.4}}
    assert judge(measured, Gates.model_validate(asked)).sentence.startswith(
        f"Passed 2 gates and {len(SANITY)} checks: "
    )
    none = judge(measured, Gates.model_validate(OFF)).sentence
    assert none == f"Passed {len(SANITY)} checks; no gate was asked for: it loads and runs."


def test_agreement_and_size() -> None:
    measured = evidence(documents(40))
    assert outcome(measured, "agreement", agreement={"min_top1": "94%"}) == "passed"
    assert outcome(measured, "agreement", agreement={"min_top1": "96%"}) == "failed"
    assert outcome(measured, "size", size={"max_ratio": 0.4}) == "passed"
    assert outcome(measured, "size", size={"max_ratio": 0.39}) == "failed"


def task(original: list[float], artifact: list[float], identical: bool = False) -> TaskScores:
    return TaskScores(
        metric="acc",
        configuration={},
        original=tuple(original),
        artifact=tuple(artifact),
        identical=identical,
        mcnemar_p=None,
    )


@pytest.mark.parametrize(
    ("items", "lost", "identical", "expected"),
    [(20, 0, False, "undecided"), (20, 0, True, "passed"), (1000, 0, False, "passed"), (1000, 30, False, "failed")],
)
def test_recovery_needs_items_not_luck(items: int, lost: int, identical: bool, expected: str) -> None:
    original = [1.0] * (items * 3 // 4) + [0.0] * (items - items * 3 // 4)
    scores = task(original, [0.0] * lost + original[lost:], identical)
    measured = evidence(documents(40), tasks={"arc_easy": scores})
    assert outcome(measured, "tasks.arc_easy", tasks={"arc_easy": {"min_recovery": 0.98}}) == expected


def test_recovery_bound_holds_at_its_confidence() -> None:
    """Items lost with the very probability that the tolerance allows pass at most one time in twenty."""
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(300):
        original = rng.random(400) < 0.7
        lost, gained = rng.random(400) < 0.08, rng.random(400) < 0.1
        artifact = np.where(original, ~lost, gained)
        true_recovery = (0.7 * 0.92 + 0.3 * 0.1) / 0.7
        scores = task(original.astype(float).tolist(), artifact.astype(float).tolist())
        measured = evidence(documents(8), tasks={"t": scores})
        passed += outcome(measured, "tasks.t", tasks={"t": {"min_recovery": true_recovery}}) == "passed"
    assert passed <= 21


def test_speed() -> None:
    speed = Speed(
        decode_seconds_original=(2.0, 2.1, 2.05, 1.95, 2.0, 2.02, 1.99, 2.01),
        decode_seconds=(1.0, 1.02, 1.01, 0.99, 1.0, 1.01, 0.98, 1.0),
        load_seconds_original=1,
        load_seconds=1,
        peak_bytes_original=1,
        peak_bytes=1,
    )
    measured = evidence(documents(8), speed=speed)
    assert outcome(measured, "speed", speed={"min_ratio": 1.5}) == "passed"
    assert outcome(measured, "speed", speed={"min_ratio": 2.5}) == "failed"
    only_told = Gates.model_validate(OFF | {"speed": {"min_ratio": None}})
    assert not [row for row in judge(measured, only_told).gates if row.name == "speed"]


def test_judging_imports_no_torch() -> None:
    modules = (
        "gates.spec, gates.judging.verdict, gates.evidence, gates.safeguards.contamination, gates.statistics.sequential"
    )
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
