"""Sequences turned into sequences: what a row becomes, and each way of being wrong is seen by the measure that is for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gates import entrypoint
from gates.errors import GateError
from gates.evidence import Document
from gates.judging.kept import kept
from gates.request import BaselineRequest
from tests import translators
from tests.gates.measured.room import Room, outcomes

pytestmark = pytest.mark.xdist_group("encoders")
TASK = "text2text-generation"
ROWS = translators.rows(70, 31)[:48]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    """Rows with targets, and rows without."""
    rows = {"told": ROWS, "untold": [{"source": row["source"]} for row in ROWS]}
    return Room(tmp_path_factory.mktemp("translators"), TASK, translators.translator, rows)


ASKED = {"divergence": {"max_kld": 1e-3}, "agreement": {"min_top1": "80%"}, "answers": {"min_same": "80%"}}


@pytest.mark.parametrize("name", ["told", "untold"])
def test_the_original_itself_is_found_to_be_itself(name: str, room: Room, tmp_path: Path) -> None:
    evidence = room.evidence(name, lambda tensors: None, tmp_path)
    assert not [check for check in evidence.checks if not check.passed]
    assert evidence.summary is not None
    values = evidence.summary.values
    assert values["same"] == 1 and abs(values["kld"]) < 1e-5
    assert set(outcomes(evidence, **ASKED).values()) == {"passed"}
    # Its own output is what a greedy decoder is surest of; the true targets it mostly knows, too.
    assert values["perplexity_original"] < (1.1 if name == "untold" else 1.5)
    assert ("chrf" in values) == (name == "told")
    if name == "told":
        assert values["chrf"] == values["chrf_original"] > 90
        assert outcomes(evidence, chrf={"min_recovery": "80%"})["chrf"] == "passed"
        assert outcomes(evidence, chrf={})["chrf"] == "undecided", "48 rows that are alike are no proof of 98 %"


def test_rows_without_targets_have_the_originals_output_for_one(room: Room) -> None:
    row = load_file(room.baseline("untold") / "documents" / "000000.safetensors")
    assert row["targets"].tolist() == [*row["written"].tolist(), translators.tokenizer().eos_token_id]
    assert "reference" not in row and "reference" in load_file(room.baseline("told") / "documents/000000.safetensors")


def swap_heads(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if "EncDecAttention.k" in name:
            tensors[name] = tensor.roll(16, 0).contiguous()


BROKEN = {
    "a decoder that looks elsewhere": (swap_heads, {"divergence", "agreement", "answers", "chrf"}),
    "an encoder that reads nothing": (
        lambda tensors: tensors["encoder.final_layer_norm.weight"].zero_(),
        {"divergence", "agreement", "answers", "chrf"},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_seen_by_every_measure(name: str, room: Room, tmp_path: Path) -> None:
    change, seen = BROKEN[name]
    said = outcomes(room.evidence("told", change, tmp_path), **ASKED, chrf={"min_recovery": "95%"})
    assert {gate for gate, outcome in said.items() if outcome == "failed"} == seen


def test_the_bound_of_chrf_is_over_rows_that_have_a_target() -> None:
    rows = [
        Document(index=n, tokens=5, sums={"chrf_original": 80.0, "chrf": 80.0 - 40.0 * (n % 4 == 0)} if n % 2 else {})
        for n in range(80)
    ]
    assert kept(rows[::2], "chrf_original", "chrf", 0.95) is None
    whole = kept(rows, "chrf_original", "chrf", 0.95)
    assert whole is not None and whole.documents == 40 and whole.value == 1
    # Nothing changed in 40 rows, which are equally good: one in fourteen may, and each might lose all.
    assert whole.low is not None and 0.85 < whole.low < 0.05 ** (1 / 40)
    few = kept(rows[1:4:2], "chrf_original", "chrf", 0.95)
    assert few is not None and (few.low is None or few.low < 0.2)
    harmed = [
        row.model_copy(update={"sums": {"chrf_original": 80.0, "chrf": 60.0 + 20 * (row.index % 3)}}) for row in rows
    ]
    recovery = kept(harmed, "chrf_original", "chrf", 0.95)
    assert recovery is not None and recovery.low is not None and recovery.low < recovery.value < 1


def test_an_original_that_writes_nothing_wants_targets(room: Room, tmp_path: Path) -> None:
    for name in ("told", "untold"):
        (tmp_path / name).mkdir()
        asked = BaselineRequest(model=room.model, task=TASK, evaluation=room.evaluation(name), hold_bytes=0)
        if name == "untold":
            with pytest.raises(GateError, match="give targets, or more memory"):
                entrypoint.run(asked, tmp_path / name)
        else:
            entrypoint.run(asked, tmp_path / name)
            stored = load_file(tmp_path / name / "documents" / "000003.safetensors")
            whole = load_file(room.baseline(name) / "documents" / "000003.safetensors")
            torch.testing.assert_close(stored["loss"], whole["loss"], rtol=1e-4, atol=1e-5)
            assert "written" not in stored
            assert json.loads((tmp_path / name / "probes.json").read_text())["greedy"] is None


@pytest.mark.parametrize(("share", "loss"), [(0.02, 1.0), (0.05, 0.5), (0.5, 0.1)])
def test_the_bound_of_chrf_holds_at_its_confidence(share: float, loss: float) -> None:
    """Few rows that lose all, and many that lose a little."""
    rng = torch.Generator().manual_seed(0)
    wrong = 0
    for _ in range(200):
        before = 40 + 60 * torch.rand(60, generator=rng)
        after = before * (1 - loss * (torch.rand(60, generator=rng) < share))
        parts = zip(before.tolist(), after.tolist(), strict=True)
        rows = [Document(index=n, tokens=1, sums={"chrf_original": a, "chrf": b}) for n, (a, b) in enumerate(parts)]
        recovery = kept(rows, "chrf_original", "chrf", 0.95)
        assert recovery is not None
        wrong += recovery.low is not None and recovery.low > 1 - share * loss
    assert wrong <= 20
