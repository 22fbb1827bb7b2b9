"""A manifest whose artifact is judged block by block, from `memory:` to the release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.flows.conftest import quantmill, room

pytestmark = pytest.mark.slow


def test_artifacts_are_streamed_and_released(prefect: str, tmp_path: Path) -> None:
    manifest, home = room(tmp_path), tmp_path / "home"
    manifest.write_text(
        "model: {source: ./model, name: milled}\n"
        "targets: {int4: w4-rtn-asym-g64, nf4: nf4}\n"
        "evaluation: {files: [evaluation.jsonl], tokens: 64, documents: 24}\n"
        "gates: {divergence: {max_kld: 0.2}, perplexity: {max_increase: 20%}}\n"
        "memory: 1 GB\n"
        "judge: streamed\n"
    )
    ran = quantmill("run", manifest, "--json", home=home, PREFECT_API_URL=prefect)
    assert ran.code == 0, ran.stdout + ran.stderr
    verdicts = [json.loads(path.read_text()) for path in (home / "store" / "verdict").glob("*/out/verdict.json")]
    assert len(verdicts) == 2
    for verdict in verdicts:
        checks = {gate["name"]: gate for gate in verdict["gates"]}
        assert checks["sanity.stock"]["outcome"] == "passed"
        assert "of 4 blocks gives the logits" in checks["sanity.stock"]["sentence"]
    cards = "".join(path.read_text() for path in (home / "hub").rglob("README.md"))
    assert (
        "unpacked from the files when they are needed" in cards and "read from the files when they are needed" in cards
    )
