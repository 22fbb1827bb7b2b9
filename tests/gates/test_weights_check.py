"""Weights are compared some rows at a time, and what is said of them is the same whatever the number."""

import pytest
import torch
from torch import Tensor

from gates.checks import weights

ROWS, COLUMNS = 1000, 100


def spoiled(sound: Tensor, fault: str) -> Tensor:
    made = sound.clone()
    if fault == "zero":
        made[[5, 900]] = 0
    elif fault == "turned":
        made[3, :32] *= -1
        made[700, 64:96] *= -1
    elif fault == "nan":
        made[999, 1] = torch.nan
    elif fault == "other":
        made = made.flip(0)
    return made


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("at_once", [COLUMNS, 77 * COLUMNS, ROWS * COLUMNS])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("none", None),
        ("zero", "2 output channels are all zero, the first 5; the original's are not"),
        ("turned", "2 runs of 32 weights point against the original's, first row 3, column 0"),
        ("nan", "NaN or infinite weights"),
        ("other", "to the original's weights: these are not its weights"),
    ],
)
def test_a_fault_is_told_in_the_same_words(
    parts: int, at_once: int, fault: str, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    original = torch.randn(ROWS, COLUMNS, generator=generator).bfloat16()
    rounded = original.float() + 0.1 * torch.randn(ROWS, COLUMNS, generator=generator)
    found = weights._fault(spoiled(rounded, fault).bfloat16().tensor_split(parts), original)
    assert found == said if fault != "other" else found is not None and found.endswith(said or "")


@pytest.mark.parametrize("rows", [ROWS - 8, ROWS + 8])
def test_too_few_rows_and_too_many_are_told(rows: int) -> None:
    given = torch.ones(rows, COLUMNS).tensor_split(4)
    assert weights._fault(given, torch.ones(ROWS, COLUMNS)) == f"shape ({rows}, 100), the original's is (1000, 100)"
