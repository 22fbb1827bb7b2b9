from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from catalog.runtime import RuntimeOptions
from gates.evaluation.speed import measure
from gates.kinds.speed import ratio
from tests.gates.conftest import Bench


@pytest.mark.slow
def test_both_are_measured_in_turn(bench: Bench) -> None:
    own = np.ones(10**8)  # a process that is started by a large one is none
    speed = measure(
        bench.model, bench.artifact, "compressed-tensors", RuntimeOptions(), "text-generation", list(range(40)), turns=4
    )
    timed = (speed.decode_seconds, speed.decode_seconds_original, speed.first_seconds, speed.first_seconds_original)
    for seconds in timed:
        assert len(seconds) == 4 and min(seconds) > 0
    assert speed.prompt == 40 and speed.processor
    # The meter's own process has as many threads as torch takes here.
    assert speed.threads == speed.threads_original == torch.get_num_threads()
    for resident, peak in (
        (speed.resident_bytes, speed.peak_bytes),
        (speed.resident_bytes_original, speed.peak_bytes_original),
    ):
        assert resident and 100e6 < resident <= 1.01 * peak
    assert speed.load_seconds > 0 and speed.load_seconds_original > 0
    assert min(speed.peak_bytes, speed.peak_bytes_original) > 100e6
    assert max(speed.peak_bytes, speed.peak_bytes_original) < own.nbytes
    assert 0.05 < ratio(speed, 0.95).value < 20


def test_speed_is_measured_only_when_asked(bench: Bench, tmp_path: Path) -> None:
    assert bench.evidence(bench.artifact, tmp_path).speed is None
