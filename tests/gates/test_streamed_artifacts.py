"""Artifacts of which the stock loader would hold all weights, streamed: the same figures, and the stock loader asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Params4bit

from catalog.runtime import RuntimeOptions
from gates.checks import stock
from gates.clients import client, packed, streamed, unpacked
from gates.request import Streamed
from tests.gates.conftest import Bench
from tests.gates.test_streamed import in_memory

LOADER = "transformers.AutoModelForCausalLM"
STREAMED = Streamed(hold_bytes=0, stock_blocks=2)


def louder(weight: torch.Tensor) -> torch.Tensor:
    """The same weight by 1.05."""
    if not isinstance(weight, Params4bit):
        return weight * 1.05
    weight.quant_state.absmax = weight.quant_state.absmax * 1.05
    return weight


@dataclass(frozen=True)
class Kind:
    """A format that is streamed, and what reads a weight of it: a method of that name."""

    format: str
    reader: type
    method: str
    told: str
    artifact: Path

    def watch(self, monkeypatch: pytest.MonkeyPatch, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
        """Have each weight changed when it is read, by its name."""
        read = getattr(self.reader, self.method)
        monkeypatch.setattr(self.reader, self.method, lambda self, name: change(name, read(self, name)))


@pytest.fixture(params=["compressed-tensors", "bitsandbytes"])
def kind(request: pytest.FixtureRequest, bench: Bench, packed_artifact: Path) -> Kind:
    if request.param == "bitsandbytes":
        return Kind(request.param, packed.Packed, "anew", "read from the files when they are needed", packed_artifact)
    told = "unpacked from the files when they are needed"
    return Kind(request.param, unpacked.Unpacked, "__getitem__", told, bench.artifact)


def test_the_figures_are_those_of_the_stock_loader(kind: Kind, bench: Bench, tmp_path: Path) -> None:
    whole = bench.evidence(kind.artifact, tmp_path / "whole", format=kind.format)
    read = bench.evidence(kind.artifact, tmp_path / "read", format=kind.format, streamed=STREAMED)
    assert whole.summary and read.summary and all(check.passed for check in read.checks), read.checks
    for name, value in whole.summary.values.items():
        assert read.summary.values[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert {check.name for check in read.checks} - {check.name for check in whole.checks} == {stock.NAME}
    assert read.runtime == whole.runtime | {"weights": kind.told} and not read.samples


def test_weights_are_read_once_for_all_rows(
    kind: Kind, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = Counter[str]()

    def counted(name: str, weight: torch.Tensor) -> torch.Tensor:
        times[name] += 1
        return weight

    kind.watch(monkeypatch, counted)
    monkeypatch.setattr(streamed, "STREAMED_TOKENS", 100)
    evidence = bench.evidence(kind.artifact, tmp_path / "out", format=kind.format, streamed=STREAMED)
    assert evidence.chat and all(check.passed for check in evidence.checks), evidence.checks
    # By the check of weights, and for documents, conversations, the long row and prompts; two blocks beside the stock loader.
    counts = [
        {count for name, count in times.items() if name.endswith("proj.weight") and f"layers.{block}." in name}
        for block in range(4)
    ]
    assert counts == [{3}, {3}, {2}, {2}]


def test_weights_stay_in_the_files(kind: Kind) -> None:
    loaded = client.load(kind.artifact, kind.format, RuntimeOptions(), "text-generation", 0)
    list(loaded.weights())
    loaded.logits(torch.arange(8))
    assert not in_memory(loaded)


def test_the_stock_loader_must_say_what_is_streamed(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [torch.arange(24), torch.arange(7, 90)]

    def said() -> client.Beginning:
        return client.first_blocks(kind.artifact, kind.format, RuntimeOptions(), "text-generation", 1, given)

    check = stock.agrees(said(), LOADER)
    assert check.passed and " 0 steps" in check.detail, check
    kind.watch(monkeypatch, lambda name, weight: louder(weight) if "layers.0.mlp.down_proj" in name else weight)
    check = stock.agrees(said(), LOADER)
    assert not check.passed and "the first 1 of" in check.detail and "does not give" in check.detail
