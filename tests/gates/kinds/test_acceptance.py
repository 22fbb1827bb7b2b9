"""Gate `acceptance`: a share over continuations, whose tokens fare alike, and an error rate that holds."""

from __future__ import annotations

import numpy as np
import pytest

from gates.evidence import Document
from gates.judging.verdict import judge
from gates.kinds.acceptance import Acceptance, accepted
from gates.spec import Gates
from tests.gates.test_verdict import OFF, documents, evidence

LIMIT = 0.6
DRAFTED = 32
SOUND = evidence(documents(8))


def rows(rates: np.ndarray, rng: np.random.Generator) -> list[Document]:
    """Continuations of which each accepts so much."""
    counts = rng.binomial(DRAFTED, rates)
    return [Document(index=n, tokens=DRAFTED, sums={"accepted": float(each)}) for n, each in enumerate(counts)]


def test_the_share_is_of_all_drafted_tokens_together() -> None:
    own = [Document(index=n, tokens=10 + n, sums={"accepted": float(5 + n)}) for n in range(40)]
    estimate = accepted([*own, Document(index=40, tokens=0, sums={"accepted": 0.0})], 0.95)
    assert estimate and estimate.low is not None and estimate.high is not None
    assert estimate.value == pytest.approx(sum(5 + n for n in range(40)) / sum(10 + n for n in range(40)))
    assert estimate.low < estimate.value < estimate.high and estimate.documents == 40


def test_what_is_at_its_limit_passes_no_more_often_than_the_confidence_allows() -> None:
    rng, passed = np.random.default_rng(0), 0
    gates = Gates.model_validate({**OFF, "acceptance": {"min_rate": LIMIT}})
    for _ in range(300):
        # Continuations of one document fare alike: some texts are easy for the draft.
        own = rows(rng.beta(LIMIT * 8, (1 - LIMIT) * 8, 48), rng)
        passed += judge(SOUND.model_copy(update={"measured": {"acceptance": tuple(own)}}), gates).passed
    assert passed <= 300 * 0.05 + 2 * (300 * 0.05 * 0.95) ** 0.5


def test_a_draft_of_which_nothing_was_measured_is_refused() -> None:
    gates = Gates.model_validate({**OFF, "acceptance": {}})
    (row,) = [each for each in judge(SOUND, gates).gates if each.name == "acceptance"]
    assert row.outcome == "failed" and "nothing was measured" in row.sentence
    assert (Acceptance().min_rate, Acceptance().candidates) == (0.5, 4)
