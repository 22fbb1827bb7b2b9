"""Looks at more and more documents: what each may risk, and what is said of documents not scored yet."""

from __future__ import annotations

import numpy as np
import pytest

from gates.judging.judgement import Wording, row
from gates.results import GateVerdict
from gates.statistics.estimate import Estimate
from gates.statistics.intervals import estimate
from gates.statistics.sequential import interim_looks, look_at, outlook, single

LEVEL = Wording(side="at most", words="level", number="{:.3g}", label="Level", figure="{:.3g}")
SHARE = Wording(side="at least", words="share", number="{:.3g}", label="Share", figure="{:.3g}")


def test_looks_begin_at_eight_and_double() -> None:
    assert interim_looks(512) == (8, 16, 32, 64, 128, 256, 512)
    assert interim_looks(122) == (8, 16, 32, 64, 122) and interim_looks(90) == (8, 16, 32, 90)
    assert interim_looks(11) == (11,) and interim_looks(12) == (8, 12) and interim_looks(1) == (1,)


def test_early_looks_spend_part_of_the_risk_and_all_looks_together_no_more_than_it() -> None:
    assert look_at((100,), 100, 0.95).confidence == pytest.approx(0.95)
    plan = interim_looks(512)
    looks = [look_at(plan[: i + 1], 512, 0.95) for i in range(len(plan))]
    assert sum(1 - look.confidence for look in looks) == pytest.approx(0.05)
    assert {look.final for look in looks} == {looks[-1].confidence}
    assert [look.last for look in looks] == [False] * 6 + [True]


def of(value: float, spread: float, count: int, risk: float = 0.05) -> Estimate:
    """Estimate from documents of exactly this mean and deviation."""
    draw = np.random.default_rng(0).normal(0, 1, count)
    draw = (draw - draw.mean()) / draw.std(ddof=1)
    return estimate(value + spread * draw, np.ones(count), 1 - risk)


def judged(value: float, spread: float, count: int, available: int, wording: Wording = LEVEL) -> GateVerdict:
    look = look_at(tuple(n for n in interim_looks(available) if n <= count), available, 0.95)
    return row("level", wording, of(value, spread, count, 1 - look.confidence), 1.0, look)


def test_what_the_rest_would_hardly_save_is_told_early() -> None:
    beyond, near, within = judged(1.2, 0.3, 16, 128), judged(1.02, 0.3, 16, 128), judged(0.93, 0.3, 16, 128)
    assert (beyond.outcome, beyond.hopeless) == ("failed", True)
    assert (near.outcome, near.hopeless) == ("undecided", False) or near.hopeless
    assert (within.outcome, within.hopeless) == ("undecided", False)


def test_within_the_limit_but_not_to_be_proven_stays_undecided() -> None:
    close = judged(0.995, 0.5, 64, 96)
    assert (close.outcome, close.hopeless) == ("undecided", True)


def test_the_documents_that_would_decide_do() -> None:
    """As many documents as are said to decide bound it within the limit; a third fewer do not."""
    first = outlook(of(0.9, 0.3, 32), 1.0, 1, look_at((32,), 32, 0.95))
    assert first and first.deciding
    enough, few = of(0.9, 0.3, round(1.1 * first.deciding)), of(0.9, 0.3, round(0.66 * first.deciding))
    assert enough.high is not None and few.high is not None
    assert enough.high <= 1 < few.high


def test_the_detectable_effect_passes_four_times_in_five() -> None:
    rng, count = np.random.default_rng(0), 48
    told = outlook(of(0.9, 0.3, count), 1.0, 1, single(0.95, count))
    assert told
    passed = 0
    for _ in range(400):
        high = estimate(rng.normal(1 - told.detectable, 0.3, count), np.ones(count), 0.95).high
        passed += high is not None and high <= 1
    assert 0.72 <= passed / 400 <= 0.88


@pytest.mark.parametrize(("wording", "value"), [(LEVEL, 0.9), (SHARE, 1.1)])
def test_a_row_says_what_it_detects_and_how_many_documents_decide(wording: Wording, value: float) -> None:
    verdict = judged(value, 0.3, 16, 256, wording)
    assert verdict.deciding and verdict.detectable and verdict.scored == 16 < verdict.deciding
    assert (
        f"least detectable distance from it {verdict.detectable:.3g}; {verdict.deciding} would decide"
        in verdict.sentence
    )


def test_what_bounds_nothing_promises_nothing() -> None:
    assert outlook(of(0.9, 0.3, 3), 1.0, 1, look_at((3,), 128, 0.95)) is None
