"""Gate `tail`: what is kept of every document, and bounds that hold although tokens of one document fare alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from gates.evidence import Document
from gates.judging.verdict import judge
from gates.kinds import tail
from gates.kinds.tail import quantile
from gates.results import GateVerdict
from gates.spec import Gates
from gates.statistics.shares import share
from tests.gates.test_scoring import scored
from tests.gates.test_verdict import OFF, evidence

TOKENS = 255
TRUE = 3.0902
"""Deviations of a normal variable that one in a thousand exceeds."""


def documents(divergences: NDArray[np.float64], turned: NDArray[np.float64] | None = None) -> tuple[Document, ...]:
    """Documents with these divergences, (documents, tokens), and that many turned choices each."""
    kept = max(tail.KEPT, -(-divergences.shape[1] // 64))
    tops = -np.sort(-divergences, axis=1)[:, :kept]
    lost = np.zeros(len(divergences)) if turned is None else turned
    sums = {"loss_original": 1.0, "loss": 1.0, "agree": 1.0, "gained": 0.0}
    return tuple(
        Document(
            index=index,
            tokens=divergences.shape[1],
            sums={**sums, "kld": float(divergences[index].sum()), "lost": float(lost[index])},
            tops={tail.TOP: tuple(top.tolist())},
        )
        for index, top in enumerate(tops)
    )


def lognormal(rng: np.random.Generator, number: int, alike: float) -> NDArray[np.float64]:
    """Divergences whose logarithm has deviation 1, of which `alike` is shared by the tokens of a document."""
    shared, own = rng.normal(0, alike, (number, 1)), rng.normal(0, np.sqrt(1 - alike**2), (number, TOKENS))
    return np.exp(shared + own)


def rows(measured: tuple[Document, ...], available: int | None = None, **asked: Any) -> dict[str, GateVerdict]:
    made = evidence(measured, available=available or len(measured))
    verdict = judge(made, Gates.model_validate(OFF | {"tail": asked}))
    return {row.name: row for row in verdict.gates if row.name.startswith("tail.")}


@pytest.mark.parametrize(("tokens", "kept"), [(5, 4), (40, 16), (3000, 47)])
def test_the_largest_divergences_of_a_document_are_kept(tokens: int, kept: int) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, tokens, 50, generator=generator)
    ids = torch.randint(0, 50, (tokens,), generator=generator)
    p, q = (logits[:-1].double().log_softmax(-1) for logits in (first, second))
    exact = (p.exp() * (p - q)).sum(-1).sort(descending=True).values[:kept]
    tops = scored(0, ids, first, second, seed=1).tops[tail.TOP]
    assert tops == pytest.approx(exact.tolist(), rel=1e-3)


def test_the_quantile_is_that_of_all_tokens() -> None:
    divergences = lognormal(np.random.default_rng(0), 64, 0.5)
    estimate = quantile(documents(divergences), 0.95)
    assert estimate and estimate.low is not None and estimate.high is not None
    assert estimate.value == np.quantile(divergences, 0.999, method="higher")
    assert estimate.low < estimate.value < estimate.high < 2 * estimate.value


@pytest.mark.parametrize(("alike", "number"), [(0.0, 64), (0.4, 64), (0.7, 128)])
def test_the_bounds_of_the_quantile_hold_at_their_confidence(alike: float, number: int) -> None:
    rng, true = np.random.default_rng(1), np.exp(TRUE)
    estimates = [quantile(documents(lognormal(rng, number, alike)), 0.95) for _ in range(200)]
    assert sum(each is not None and each.high is not None and each.high < true for each in estimates) <= 14
    assert sum(each is not None and each.low is not None and each.low > true for each in estimates) <= 14
    bounded = [each.high for each in estimates if each and each.high is not None]
    assert len(bounded) > 100 and np.median(bounded) < 1.8 * true, "a bound that says nothing holds always"


def test_bounds_as_if_tokens_were_independent_would_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "likeness", lambda *sums: np.ones(1))
    rng, true = np.random.default_rng(1), np.exp(TRUE)
    estimates = [quantile(documents(lognormal(rng, 64, 0.7)), 0.95) for _ in range(200)]
    assert sum(each is not None and each.high is not None and each.high < true for each in estimates) > 20


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_bounds_of_a_share_hold_at_their_confidence(spread: float) -> None:
    rng, high, low = np.random.default_rng(2), 0, 0
    for _ in range(300):
        shares = 0.002 * np.exp(rng.normal(-(spread**2) / 2, spread, 64))
        estimate = share(rng.binomial(TOKENS, shares).tolist(), [TOKENS] * 64, 0.95)
        assert estimate and estimate.high is not None and estimate.low is not None
        high += estimate.high < 0.002
        low += estimate.low > 0.002
    assert high <= 20 and low <= 20


def test_nothing_seen_is_no_proof_that_there_is_nothing() -> None:
    estimate = share([0.0] * 64, [TOKENS] * 64, 0.95)
    assert estimate and estimate.high is not None
    assert (estimate.value, estimate.low) == (0, 0) and 2.9 < estimate.high * 64 * TOKENS < 6


def test_more_than_was_kept_of_a_document_widens_the_bound() -> None:
    """Of a document that is bad throughout, 16 tokens are known, and nothing below them is taken for complete."""
    divergences = lognormal(np.random.default_rng(3), 64, 0.3)
    divergences[0] = np.linspace(50, 100, TOKENS)
    estimate = quantile(documents(divergences), 0.95)
    assert estimate and estimate.value >= np.quantile(divergences, 0.999)
    assert estimate.high is None or estimate.high >= 50


def test_few_tokens_leave_the_quantile_open() -> None:
    few = documents(lognormal(np.random.default_rng(4), 8, 0.0))
    assert rows(few, max_p999=1e6)["tail.p999"].outcome == "undecided"
    assert rows(few, max_p999=1e-6)["tail.p999"].outcome == "failed"


def test_an_identical_copy_passes_the_tightest_limits() -> None:
    judged = rows(documents(np.zeros((64, TOKENS))), max_p999=1e-9, max_token=1e-9, max_flips=0.001)
    assert {row.outcome for row in judged.values()} == {"passed"}


def test_the_largest_is_judged_when_all_of_the_text_is_scored() -> None:
    divergences = lognormal(np.random.default_rng(5), 64, 0.0)
    text, most = documents(divergences), float(divergences.max())
    assert rows(text, max_token=1.01 * most)["tail.token"].outcome == "passed"
    assert rows(text, available=500, max_token=1.01 * most)["tail.token"].outcome == "undecided"
    failed = rows(text, available=500, max_token=0.99 * most)["tail.token"]
    assert failed.outcome == "failed" and failed.value == most
    assert "of all tokens above it at" in failed.sentence


def test_what_is_not_named_is_not_judged() -> None:
    text = documents(np.zeros((64, TOKENS)), turned=np.full(64, 10.0))
    assert list(rows(text, max_flips="3%")) == ["tail.flips"]
    assert rows(text, max_flips="3%")["tail.flips"].outcome == "failed"
    with pytest.raises(ValidationError, match="asks for nothing"):
        Gates.model_validate({"tail": {}})


def test_nothing_measured_fails() -> None:
    judged = rows((), available=40, max_p999=1, max_token=1, max_flips=0.1)
    assert [row.outcome for row in judged.values()] == ["failed"] * 3
