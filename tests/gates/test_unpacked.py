"""An artifact that its stock loader would unpack whole, scored block by block: the same figures, and the stock loader asked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from catalog.runtime import RuntimeOptions
from gates.checks import stock
from gates.clients import client, streamed, unpacked
from gates.evidence import Evidence
from gates.request import Streamed
from tests.gates.artifacts import edit_tensors
from tests.gates.conftest import Bench
from tests.gates.test_streamed import in_memory

LOADER = "transformers.AutoModelForCausalLM"
STREAMED = Streamed(hold_bytes=0, stock_blocks=2)


@pytest.fixture(scope="module")
def both(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evidence, Evidence]:
    out = tmp_path_factory.mktemp("both")
    return bench.evidence(bench.artifact, out / "whole"), bench.evidence(
        bench.artifact, out / "read", streamed=STREAMED
    )


def test_the_figures_are_those_of_the_stock_loader(both: tuple[Evidence, Evidence]) -> None:
    whole, read = both
    assert whole.summary and read.summary and all(check.passed for check in read.checks), read.checks
    for name, value in whole.summary.values.items():
        assert read.summary.values[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert {check.name for check in read.checks} - {check.name for check in whole.checks} == {stock.NAME}
    assert read.runtime["weights"] == "unpacked from the files when they are needed" and not read.samples


def test_weights_are_read_once_for_all_rows(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, times = unpacked.Unpacked.__getitem__, Counter[str]()

    def counted(self: unpacked.Unpacked, name: str) -> torch.Tensor:
        times[name] += 1
        return read(self, name)

    monkeypatch.setattr(unpacked.Unpacked, "__getitem__", counted)
    monkeypatch.setattr(streamed, "STREAMED_TOKENS", 100)
    evidence = bench.evidence(bench.artifact, tmp_path / "out", streamed=STREAMED)
    assert evidence.chat and all(check.passed for check in evidence.checks), evidence.checks
    # By the check of weights, and for documents, conversations, the long row and prompts; two blocks beside the stock loader.
    counts = [
        {count for name, count in times.items() if name.endswith("proj.weight") and f"layers.{block}." in name}
        for block in range(4)
    ]
    assert counts == [{3}, {3}, {2}, {2}]


def test_weights_stay_packed_in_the_files(bench: Bench) -> None:
    loaded = client.load(bench.artifact, "compressed-tensors", RuntimeOptions(), "text-generation", 0)
    loaded.logits(torch.arange(8))
    assert not in_memory(loaded)


def test_the_stock_loader_must_say_what_is_streamed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [torch.arange(24), torch.arange(7, 90)]

    def said() -> client.Beginning:
        return client.first_blocks(bench.artifact, "compressed-tensors", RuntimeOptions(), "text-generation", 1, rows)

    assert stock.agrees(said(), LOADER).passed
    read = unpacked.Unpacked.__getitem__

    def other(self: unpacked.Unpacked, name: str) -> torch.Tensor:
        tensor = read(self, name)
        return tensor * 1.05 if name.endswith("layers.0.mlp.down_proj.weight") else tensor

    monkeypatch.setattr(unpacked.Unpacked, "__getitem__", other)
    check = stock.agrees(said(), LOADER)
    assert not check.passed and "the first 1 of" in check.detail and "does not give" in check.detail


@pytest.mark.parametrize("damage", ["missing", "left over", "short"])
def test_damage_is_told_as_the_stock_loader_tells_it(copy: Path, damage: str, tmp_path: Path, bench: Bench) -> None:
    name = "model.layers.1.mlp.up_proj.weight_packed"
    changes = {
        "missing": lambda tensors: tensors.pop(name),
        "left over": lambda tensors: tensors.update(
            {"model.layers.9.mlp.up_proj.weight_packed": tensors[name].clone()}
        ),
        "short": lambda tensors: tensors.update({name: tensors[name][:-8].contiguous()}),
    }
    edit_tensors(copy, changes[damage])
    evidence = bench.evidence(copy, tmp_path / "out", streamed=STREAMED)
    failed = {check.name: check.detail for check in evidence.checks if not check.passed}
    assert failed and "up_proj" in " ".join(failed.values()), failed


def test_a_scale_of_the_wrong_sign_is_seen(copy: Path, tmp_path: Path, bench: Bench) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["model.layers.3.mlp.down_proj.weight_scale"][5, 0] *= -1
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    evidence = bench.evidence(copy, tmp_path / "out", streamed=STREAMED)
    assert [check.name for check in evidence.checks if not check.passed] == ["weights"]
