from __future__ import annotations

import numpy as np
import pytest

from gates.statistics.estimate import careful
from gates.statistics.intervals import estimate, refused


def test_bounds_hold_at_their_confidence_for_skewed_documents() -> None:
    """The upper bound of few right-skewed documents is where simpler intervals fail."""
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(400):
        y = rng.lognormal(0, 0.4, 16)
        high = estimate(y, np.ones(16), 0.95).high
        missed += high is not None and high < np.exp(0.08)
    assert missed <= 20


def test_tokens_weigh_documents() -> None:
    interval = estimate(np.array([10.0, 0.0, 0.0, 1.0, 1.0, 1.0]), np.array([100.0, 1.0, 1.0, 10.0, 10.0, 10.0]), 0.95)
    assert interval.value == pytest.approx(13 / 132)


def test_more_documents_narrow_the_interval() -> None:
    y = np.random.default_rng(1).normal(1, 0.5, 256)
    widths = []
    for n in (16, 64, 256):
        interval = estimate(y[:n], np.ones(n), 0.95)
        assert interval.low is not None and interval.high is not None
        widths.append(interval.high - interval.low)
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_documents_bound_nothing(n: int) -> None:
    interval = estimate(np.arange(n, dtype=np.float64) + 0.5, np.ones(n), 0.95)
    assert interval.low is None and interval.high is None


def test_equal_documents_are_their_own_bounds() -> None:
    interval = estimate(np.zeros(8), np.full(8, 100.0), 0.95)
    assert (interval.low, interval.value, interval.high) == (0, 0, 0)


def test_same_documents_same_bounds() -> None:
    y, x = np.random.default_rng(2).random((2, 30))
    assert estimate(y, x, 0.95) == estimate(y.copy(), x.copy(), 0.95)


def test_higher_confidence_is_wider() -> None:
    y = np.random.default_rng(3).random(40)
    narrow, wide = estimate(y, np.ones(40), 0.9), estimate(y, np.ones(40), 0.99)
    assert wide.low < narrow.low and narrow.high < wide.high  # type: ignore[operator]


@pytest.mark.parametrize("documents", [8, 16, 64])
def test_bounds_hold_at_small_risks_for_documents_of_unequal_length(documents: int) -> None:
    """Looks at few documents take a share of the risk: bounds must hold there, not only at 5 %."""
    rng = np.random.default_rng(4)
    missed = 0
    for _ in range(2000):
        tokens = np.exp(rng.uniform(np.log(16), np.log(256), documents)).round()
        y = tokens * rng.lognormal(-0.08, 0.4, documents)
        missed += bool(refused(y - tokens, 0.01))
    assert missed <= 40


def test_a_bound_is_where_documents_begin_to_refuse() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(16, 256, 24).astype(float)
    y = x * rng.lognormal(0, 0.4, 24)
    risk = careful(0.05, 24)
    high = estimate(y, x, 0.95).high
    assert high is not None
    assert refused(y - 1.001 * high * x, risk) and not refused(y - 0.999 * high * x, risk)
