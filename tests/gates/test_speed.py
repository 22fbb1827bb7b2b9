from __future__ import annotations

from pathlib import Path

import pytest

from catalog.runtime import RuntimeOptions
from gates.evaluation.speed import measure
from gates.kinds.speed import ratio
from tests.gates.conftest import Bench


@pytest.mark.slow
def test_both_are_measured_in_turn(bench: Bench) -> None:
    speed = measure(
        bench.model, bench.artifact, "compressed-tensors", RuntimeOptions(), "text-generation", list(range(40)), turns=4
    )
    for seconds in (speed.decode_seconds, speed.decode_seconds_original):
        assert len(seconds) == 4 and min(seconds) > 0
    assert speed.load_seconds > 0 and speed.load_seconds_original > 0
    assert min(speed.peak_bytes, speed.peak_bytes_original) > 100e6
    assert 0.05 < ratio(speed, 0.95).value < 20


def test_speed_is_measured_only_when_asked(bench: Bench, tmp_path: Path) -> None:
    assert bench.evidence(bench.artifact, tmp_path).speed is None
