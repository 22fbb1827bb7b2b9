"""The control: a copy spoiled on purpose goes the way of a sound artifact, and is refused by what the gates measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from gates.errors import GateError
from gates.judging.verdict import judge, slipped
from gates.safeguards.control import spoil
from gates.spec import Gates
from tests.gates.conftest import Bench


def test_the_control_is_refused_by_what_was_measured_and_leaves_nothing_behind(bench: Bench, tmp_path: Path) -> None:
    before = (bench.artifact / "model.safetensors").read_bytes()
    evidence = bench.evidence(bench.artifact, tmp_path / "out", control=True)
    verdict = judge(evidence, Gates())
    assert slipped(verdict) is None
    assert {"divergence", "perplexity"} <= {row.name for row in verdict.gates if row.outcome == "failed"}
    assert len(evidence.documents) == 8 and all(
        check.passed for check in evidence.checks if check.name in ("loads", "files")
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["evidence.json", "result.json"]
    assert (bench.artifact / "model.safetensors").read_bytes() == before


def test_a_spoiled_copy_has_the_same_numbers_in_other_places(bench: Bench, tmp_path: Path) -> None:
    spoil(bench.artifact, tmp_path / "copy", "compressed-tensors")
    sound, spoiled = (load_file(path / "model.safetensors") for path in (bench.artifact, tmp_path / "copy"))
    changed = {name for name in sound if not sound[name].equal(spoiled[name])}
    assert len(changed) > 20 and all(sound[name].flip(0).equal(spoiled[name]) for name in changed)
    assert not changed & {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"}
    assert (tmp_path / "copy" / "config.json").samefile(bench.artifact / "config.json")


def test_the_control_is_refused_whatever_documents_are_drawn(bench: Bench, tmp_path: Path) -> None:
    spoil(bench.artifact, tmp_path / "copy", "compressed-tensors")
    evidence = bench.evidence(tmp_path / "copy", tmp_path / "out")
    rng, caught = np.random.default_rng(0), 0
    for _ in range(200):
        drawn = [evidence.documents[index] for index in rng.integers(0, len(evidence.documents), 8)]
        verdict = judge(evidence.model_copy(update={"documents": tuple(drawn), "looks": (8,), "chat": ()}), Gates())
        caught += (
            slipped(verdict) is None
            and next(row for row in verdict.gates if row.name == "divergence").outcome == "failed"
        )
    assert caught == 200


def test_gates_that_let_anything_pass_are_told_from_those_that_see(bench: Bench, tmp_path: Path) -> None:
    evidence = bench.evidence(bench.artifact, tmp_path / "out", control=True)
    anything = {"divergence": {"max_kld": 1e6}, "perplexity": {"max_increase": 1e9}}
    assert "KL divergence" in str(slipped(judge(evidence, Gates.model_validate(anything))))
    assert (
        slipped(judge(evidence, Gates.model_validate({"divergence": None, "perplexity": None}))) is None
    )  # by its weights


def test_what_holds_no_matrix_cannot_be_spoiled(tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    with pytest.raises(GateError, match="no matrix of a block"):
        spoil(tmp_path / "artifact", tmp_path / "copy", "compressed-tensors")
