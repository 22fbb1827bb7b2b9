"""The control of a run, for real: what is spoiled on purpose is refused, or nothing is released."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.planning.error_budget import spending
from flows.planning.kinds import CONTROL
from flows.reports.verdict_page import evidence_of
from flows.store import Store
from tests.flows.conftest import Demo, quantmill

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]
ANYTHING = "gates: {divergence: {max_kld: 1000000}, perplexity: {max_increase: 1000000000}}\n"


def test_a_control_went_every_way_of_loading_and_was_refused(demo: Demo) -> None:
    store = Store(demo.home)
    controls = list(store.records(CONTROL))
    assert len(controls) == 3, "compressed-tensors, bitsandbytes and OpenVINO"
    for control in controls:
        evidence = evidence_of(store, CONTROL.at(control.key))
        assert len(evidence.documents) == 8 and "loads" not in control.result.failed_checks
        assert all(document.sums["kld"] > document.tokens for document in evidence.documents)


def test_nothing_is_released_when_the_control_passes(demo: Demo, tmp_path: Path) -> None:
    manifest, home = tmp_path / "demo.yaml", tmp_path / "home"
    shutil.copytree(demo.home, home, symlinks=True)
    shutil.copytree(demo.manifest.parent, tmp_path, dirs_exist_ok=True)
    text = demo.manifest.read_text()
    manifest.write_text(text[: text.index("gates:")] + ANYTHING + text[text.index("publish:") :])
    before = quantmill("list", "--json", home=home).json
    ran = quantmill("run", manifest, "--target", "int8", home=home)
    assert ran.code == 3, ran.stdout + ran.stderr
    assert "spoiled on purpose passed its gates" in " ".join((ran.stdout + ran.stderr).split())
    assert quantmill("list", "--json", home=home).json == before
    attempts = spending("demo/docstring-llama-int8", Store(home)).attempts
    assert [attempt.share for attempt in attempts] == [1 / 2, 1 / 6]
