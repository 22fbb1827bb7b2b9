"""What evidence on an adapter comes to: it must have learned, must not have forgotten, and a spoiled copy must be seen."""

import random

import pytest

from gates.adapters.evidence import SANITY, AdapterEvidence
from gates.adapters.limits import AdapterGates, judge
from gates.evidence import Check, Document

GATES = AdapterGates(min_gain=0.2, max_kld=0.1)


def documents(count: int, gain: float, kld: float, seed: int = 0) -> tuple[Document, ...]:
    """Documents of 50 tokens whose loss falls by about `gain` nats per token."""
    dice = random.Random(seed)
    made = []
    for index in range(count):
        before, moved = 50 * 4.0, 50 * kld * dice.uniform(0.8, 1.2)
        after = before - 50 * gain * dice.uniform(0.8, 1.2)
        made.append(Document(index=index, tokens=50, sums={"loss_original": before, "loss": after, "kld": moved}))
    return tuple(made)


def evidence(held_out=(24, 0.5), general=(24, 0.05), control=(8, 0.0), checks=SANITY) -> AdapterEvidence:
    return AdapterEvidence(
        loader="peft.AutoPeftModelForCausalLM",
        row_tokens=64,
        held_out=documents(held_out[0], held_out[1], 0.3),
        general=documents(general[0], 0.0, general[1]),
        control=documents(control[0], control[1], 0.3),
        held_out_summary=None,
        general_summary=None,
        checks=tuple(Check(name=name, passed=True, detail="fine") for name in checks),
        base_bytes=10,
        adapter_bytes=1,
    )


def test_one_that_learned_and_did_not_forget_passes_with_its_bounds() -> None:
    verdict = judge(evidence(), GATES)
    assert verdict.passed and not verdict.more
    gates = {gate.name: gate for gate in verdict.gates}
    gain, forgetting = gates["gain"], gates["forgetting"]
    assert gain.interval and gain.interval[0] and 0.2 < gain.interval[0] < gain.value == pytest.approx(0.5, abs=0.05)
    assert forgetting.worst and forgetting.value and forgetting.value < forgetting.worst < 0.1


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"held_out": (24, 0.1)}, "gain"),
        ({"general": (24, 0.3)}, "forgetting"),
        ({"control": (8, 0.5)}, "sanity.control"),
        ({"control": (0, 0.0)}, "sanity.control"),
        ({"checks": ("files", "loads", "finite")}, "sanity.base"),
        ({"held_out": (0, 0.0)}, "gain"),
    ],
)
def test_what_fails_alone_fails_it(changes: dict, culprit: str) -> None:
    verdict = judge(evidence(**changes), GATES)
    assert [gate.name for gate in verdict.gates if gate.outcome == "failed"] == [culprit]
    assert (verdict.passed, verdict.outcome) == (False, "failed")


def test_few_documents_decide_nothing_and_less_risk_asks_for_more() -> None:
    verdict = judge(evidence(held_out=(4, 0.5)), GATES)
    assert verdict.outcome == "undecided" and "gain" in verdict.sentence
    sure, surer = (judge(evidence(), GATES, risk).gates[-2].interval for risk in (0.05, 0.001))
    assert sure and surer and sure[0] and surer[0] and surer[0] < sure[0]
