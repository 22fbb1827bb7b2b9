"""Gate `generation`: the first token that differs, for continuations that end before one does as well."""

from __future__ import annotations

import numpy as np
import pytest

from gates.evaluation.probes import NEW_TOKENS, alike
from gates.evidence import Sample
from gates.judging.verdict import judge
from gates.kinds import generation
from gates.spec import Gates
from tests.gates.test_verdict import OFF, documents, evidence


def samples(*same: int, tokens: int = 48) -> tuple[Sample, ...]:
    return tuple(Sample(prompt="", original="", artifact="", tokens=tokens, same=each) for each in same)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1, 2, 3), (1, 2, 3), 4),
        ((1, 2, 3), (1, 2, 4), 2),
        ((1, 2, 3), (1, 2), 2),
        ((), (), 1),
        ((5,), (6,), 0),
        (tuple(range(NEW_TOKENS)), tuple(range(NEW_TOKENS)), NEW_TOKENS),
    ],
)
def test_tokens_are_alike_until_the_first_that_differs(
    first: tuple[int, ...], second: tuple[int, ...], expected: int
) -> None:
    assert alike(first, second) == expected == alike(second, first)


def test_the_estimate_is_the_rate_of_divergence_turned_over() -> None:
    told = generation.alike(samples(9, 9, 9, 9, 9, 9, 9, 9), 0.95)
    assert told and told.value == pytest.approx(9) and told.low and told.low < 9 < told.high  # type: ignore[operator]


def test_continuations_that_never_differ_count_for_their_length_alone() -> None:
    told = generation.alike(samples(*[48] * 8), 0.95)
    assert told and told.value == 8 * 48 and told.high is None and told.low and 40 < told.low < 160
    assert generation.alike((), 0.95) is None and generation.alike(samples(0, tokens=0), 0.95) is None


def test_the_bound_holds_at_its_confidence() -> None:
    """Each token differs with a chance of 1 in 21: 20 tokens alike on average."""
    rng, passed = np.random.default_rng(0), 0
    for _ in range(400):
        told = generation.alike(samples(*np.minimum(rng.geometric(1 / 21, 16) - 1, 48).tolist()), 0.95)
        assert told
        passed += told.low is not None and told.low >= 20
    assert passed <= 28


def test_an_artifact_that_says_something_else_at_once_fails() -> None:
    gates = Gates.model_validate(OFF | {"generation": {"min_tokens": 8}})
    for same, expected in (((0, 1, 0, 2, 0, 1, 0, 0), "failed"), ((48,) * 8, "passed")):
        verdict = judge(evidence(documents(40), samples=samples(*same)), gates)
        assert next(row.outcome for row in verdict.gates if row.name == "generation") == expected
