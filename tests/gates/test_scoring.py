from __future__ import annotations

import pytest
import torch

from gates.evaluation import scoring
from gates.evaluation.probes import repetition
from gates.evidence import Document
from gates.tasks import measured


def scored(
    index: int, ids: torch.Tensor, first: torch.Tensor, second: torch.Tensor, seed: int = 0, start: int = 1
) -> Document:
    """What is kept of a document of which tokens from `start` on are scored, from all logits of both models."""
    described = scoring.describe(first[start - 1 : -1], ids[start:], seed)
    compared = scoring.compare(described, second[start - 1 : -1], ids[start:])
    return measured("text-generation").document(index, compared)


@pytest.mark.parametrize("vocabulary", [40, 3000])
def test_divergence_equals_that_of_full_distributions(vocabulary: int) -> None:
    """A vocabulary below what is kept is exact; above it, the drawn tokens stand for the rest."""
    generator = torch.Generator().manual_seed(0)
    first = 2 * torch.randn(400, vocabulary, generator=generator)
    # More on unlikely tokens, as rounding does: the mass of what is not kept changes.
    second = 0.9 * first + 0.2 * torch.randn(400, vocabulary, generator=generator)
    ids = torch.randint(0, vocabulary, (400,), generator=generator)
    p, q = (logits[:-1].double().log_softmax(-1) for logits in (first, second))
    exact = float((p.exp() * (p - q)).sum())
    document = scored(3, ids, first, second, seed=1)
    sums = document.sums
    assert sums["kld"] == pytest.approx(exact, rel=1e-5 if vocabulary <= scoring.KEPT else 0.02)
    assert sums["loss"] == pytest.approx(float(-q[torch.arange(399), ids[1:]].sum()), rel=1e-6)
    assert sums["loss_original"] == pytest.approx(float(-p[torch.arange(399), ids[1:]].sum()), rel=1e-6)
    best = p.argmax(-1), q.argmax(-1)
    assert sums["agree"] == int((best[0] == best[1]).sum())
    assert sums["lost"] == int(((best[0] == ids[1:]) & (best[1] != ids[1:])).sum())
    assert (document.index, document.tokens) == (3, 399)


def test_identical_logits_diverge_by_nothing() -> None:
    logits = torch.randn(50, 500, generator=torch.Generator().manual_seed(1))
    ids = torch.arange(50)
    sums = scored(0, ids, logits, logits).sums
    assert abs(sums["kld"]) < 1e-5 and sums["loss"] == pytest.approx(sums["loss_original"], rel=1e-6)
    assert sums["agree"] == 49 and sums["lost"] == sums["gained"] == 0


def test_a_prefix_may_be_left_out() -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(2, 30, 100, generator=generator)
    ids = torch.randint(0, 100, (30,), generator=generator)
    document = scored(0, ids, first, second, start=20)
    assert document.tokens == 10
    expected = torch.nn.functional.cross_entropy(second[19:29], ids[20:], reduction="sum")
    assert document.sums["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_repetition() -> None:
    assert repetition(((1, 2, 3, 4),)) == 0
    assert repetition(((1, 2, 1, 2, 1, 2),)) == pytest.approx(3 / 5)
    assert repetition(((), (5,))) == 0
