"""An artifact that its stock loader would unpack whole, scored block by block: the same figures, and the stock loader asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from gates.request import Streamed
from tests.gates.artifacts import edit_tensors
from tests.gates.conftest import Bench

LOADER = "transformers.AutoModelForCausalLM"
STREAMED = Streamed(hold_bytes=0, stock_blocks=2)


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
