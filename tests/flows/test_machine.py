"""What the machine lacks is said before any work, with an exit code of its own."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from catalog import libraries
from catalog.errors import EnvironmentFault
from flows.planning import machine, tool_versions
from flows.planning.original_memory import memory_bytes
from flows.planning.plan import plan, read
from flows.store import Store
from tests.flows.conftest import quantmill, room

MANIFEST = """
model: {source: ./model, name: small}
evaluation: {files: [evaluation.jsonl], tokens: 128, documents: 8}
calibration: {files: [calibration.jsonl], samples: 4, tokens: 64}
publish: {to: local, namespace: acme}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[[str], Path]:
    folder = room(tmp_path / "room").parent

    def write(targets: str, more: str = "") -> Path:
        (folder / "m.yaml").write_text(f"{MANIFEST}targets: {targets}\n{more}")
        return folder / "m.yaml"

    return write


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_device_that_is_not_here_is_refused_before_any_work(
    verb: str, manifest: Callable[[str], Path], tmp_path: Path
) -> None:
    assert "NPU" not in machine.openvino_devices()
    wanted = manifest("{int8: w8-rtn, npu: {preset: ov-w4-rtn-cw, device: NPU}}")
    refused = quantmill(verb, wanted, home=tmp_path / "home")
    assert refused.code == 4, refused.stdout + refused.stderr
    assert "targets.npu: device NPU is not on this machine" in refused.stderr and "CPU" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"cache"}
    assert quantmill("plan", wanted, "--target", "int8", home=tmp_path / "home").code == 0


def test_an_accelerator_to_calibrate_on_is_looked_for(manifest: Callable[[str], Path], tmp_path: Path) -> None:
    if any(Path(node).exists() for node in ("/dev/dri", "/dev/dxg")) and "+cpu" not in libraries.installed("torch"):
        pytest.skip("this machine may have one")
    wanted = manifest("{int4: w4-awq-g64}").read_text().replace("tokens: 64}", "tokens: 64, device: xpu}")
    path = tmp_path / "room" / "demo" / "m.yaml"
    path.write_text(wanted)
    refused = quantmill("plan", path, home=tmp_path / "home")
    assert refused.code == 4 and "calibration.device xpu is not on this machine" in refused.stderr


def refusal(manifest: Path, home: Path) -> str:
    with pytest.raises(EnvironmentFault) as caught:
        machine.refuse_unfit(plan(read([manifest]), Store(home)), home)
    return str(caught.value)


def test_a_package_that_is_missing_is_named(
    manifest: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "bitsandbytes":
            raise importlib.metadata.PackageNotFoundError(name)
        return importlib.metadata.version(name)

    monkeypatch.setattr(libraries, "version", version)
    libraries.installed.cache_clear()
    tool_versions.versions.cache_clear()
    try:
        said = refusal(manifest("{int8: w8-rtn, nf4: nf4}"), tmp_path / "home")
    finally:
        libraries.installed.cache_clear()
        tool_versions.versions.cache_clear()
    assert "targets.nf4: the package bitsandbytes is not installed" in said


def test_more_memory_than_there_is(
    manifest: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < memory_bytes() <= psutil.virtual_memory().total + psutil.swap_memory().total
    wanted = manifest("{int8: w8-rtn}")
    machine.refuse_unfit(plan(read([wanted]), Store(tmp_path / "home")), tmp_path / "home")
    monkeypatch.setattr(machine, "memory_bytes", lambda: 200_000_000)
    assert "this machine has 200.0 MB" in refusal(wanted, tmp_path / "home")


@pytest.mark.parametrize("size", ["8k", "700k", "12m"])
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_disk_too_small_for_what_is_planned(
    verb: str, size: str, manifest: Callable[[str], Path], disk: Callable[..., Path]
) -> None:
    home = disk(f"size={size}") / "home"
    refused = quantmill(verb, manifest("{int8: w8-rtn}"), home=home)
    assert refused.code == 4, refused.stdout + refused.stderr
    assert f"{home}: the disk has" in refused.stderr and refused.stderr.count("\n") == 1
    left = {path.name for path in home.iterdir()} if home.exists() else set()
    assert left <= {"cache"}
