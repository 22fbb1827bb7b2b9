"""What a target's release is run with is resolved while planning, and stands in keys and requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.planning.jobs import Job
from flows.planning.plan import plan, read
from flows.store import Store
from gates.kinds.overflow import Overflow
from tests.flows.conftest import room

FLAGS = {
    "int8": frozenset({"avx512f", "avx512_vnni"}),
    "bf16": frozenset({"avx512f", "avx512_bf16"}),
    "fp32": frozenset({"avx2"}),
}


def job_of(tmp_path: Path, target: str) -> Job:
    manifest = tmp_path / "demo" / "demo.yaml"
    if not manifest.is_file():
        room(tmp_path)
    text = (manifest.parent / "demo.yaml").read_text()
    begin, end = text.index("targets:"), text.index("gates:")
    manifest.write_text(f"{text[:begin]}targets:\n  t: {target}\n{text[end:]}")
    [planned] = plan(read([manifest]), Store(tmp_path / "home")).jobs
    return planned.job


def keys(job: Job) -> tuple[str, str, str]:
    rung = job.target.rungs[0]
    return job.quantize(rung).key, job.evidence(rung, 8, "content").key, job.verdict(rung).key


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize(
    ("preset", "dtypes"), [("ov-w4-g64", ("int8", "bf16", "fp32")), ("w4-rtn-g64", ("bf16", "fp32"))]
)
def test_auto_is_the_fastest_that_client_and_cpu_have(
    flags: str, preset: str, dtypes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("flows.planning.runtime", "quantizers.hardware.compute_dtype"):
        monkeypatch.setattr(f"{module}.cpu_flags", lambda: FLAGS[flags])
    auto = job_of(tmp_path, f"{{preset: {preset}, runtime: {{compute: auto}}}}")
    stands_for = flags if flags in dtypes else "fp32"
    assert auto.runtime(auto.target.rungs[0]).compute == stands_for
    assert keys(auto) == keys(job_of(tmp_path, f"{{preset: {preset}, runtime: {{compute: {stands_for}}}}}"))


def test_the_runtime_changes_evidence_and_verdict_and_leaves_the_artifact(tmp_path: Path) -> None:
    plain = keys(job_of(tmp_path, "ov-w4-g64"))
    hinted = keys(job_of(tmp_path, "{preset: ov-w4-g64, ov_config: {PERFORMANCE_HINT: THROUGHPUT}}"))
    other = keys(job_of(tmp_path, "{preset: ov-w4-g64, runtime: {compute: fp32}}"))
    assert plain[0] == hinted[0] == other[0]
    assert len({plain[1], hinted[1], other[1]}) == len({plain[2], hinted[2], other[2]}) == 3


def test_what_is_asked_of_the_gate_is_what_the_target_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(tmp_path, "{preset: ov-w4-g64, ov_config: {NUM_STREAMS: 1}, runtime: {compute: bf16}}")
    said = job.runtime(job.target.rungs[0]).said
    assert said == {"compute": "bf16", "ov_config": {"NUM_STREAMS": 1}}
    assert job.ingredients()["compute"] == "bf16" and job.ingredients()["ov_config.NUM_STREAMS"] == "1"


def test_what_is_for_a_gpu_stays_within_fp16(tmp_path: Path) -> None:
    plain, on_gpu = (job_of(tmp_path, target) for target in ("ov-w4-g64", "{preset: ov-w4-g64, device: GPU}"))
    assert plain.manifest.gates.overflow is None
    assert on_gpu.manifest.gates.overflow == Overflow(max_values=0)
    rung = on_gpu.target.rungs[0]
    assert on_gpu.evidence(rung, 8, "content").inputs["overflow"]
    manifest = tmp_path / "demo" / "demo.yaml"
    manifest.write_text(manifest.read_text().replace("gates:\n", "gates:\n  overflow: null\n"))
    assert job_of(tmp_path, "{preset: ov-w4-g64, device: GPU}").manifest.gates.overflow is None
