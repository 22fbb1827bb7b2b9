"""A machine at fault while an artifact is scored: told as that, and never evidence against the artifact."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from catalog.errors import EnvironmentFault
from catalog.runtime import RuntimeOptions
from flows.execution import child
from gates.evaluation.speed import measure
from tests.gates.conftest import Bench

# The address space is limited only once the libraries are there, which take most of it.
STARVED = """
import resource, sys
from pathlib import Path
from gates.entrypoint import run
from gates.request import REQUEST
import transformers.models.llama.modeling_llama, compressed_tensors
from transformers import AutoModelForCausalLM, AutoTokenizer
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20), size + (4 << 20)))
run(REQUEST.validate_json(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
"""
ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its own address space as Linux counts it")
def test_too_little_memory_is_no_verdict(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "starved.py").write_text(STARVED)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(child, "_PATH", f"{ROOT}{os.pathsep}{tmp_path}")
    request = bench.request(bench.artifact)
    # An exception, or, where a library aborts, the words it ends with.
    with pytest.raises(EnvironmentFault, match="memory"):
        child.run("starved", request, tmp_path, progress=lambda *event: None)
    assert not (tmp_path / "out" / "evidence.json").exists()


@pytest.mark.slow
def test_a_device_that_is_missing_is_not_slow(bench: Bench) -> None:
    with pytest.raises(EnvironmentFault, match="NPU"):
        measure(
            bench.model, bench.artifact, "openvino", RuntimeOptions(device="NPU"), "text-generation", [1, 2, 3], turns=1
        )
