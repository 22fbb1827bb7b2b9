"""What the machine lacks is said before any work, with an exit code of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from catalog import libraries
from flows.machine_memory import memory_bytes
from flows.planning import machine
from tests.flows.conftest import ROOT, quantmill, room

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}

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
    refused = quantmill(verb, manifest("{npu: {preset: ov-w4-rtn-cw, device: NPU}}"), home=tmp_path / "home")
    assert refused.code == 4, refused.stdout + refused.stderr
    assert "targets.npu: device NPU is not on this machine" in refused.stderr and "CPU" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"cache"}


def test_a_device_of_torch_that_is_not_here_is_told_in_a_sentence(
    manifest: Callable[[str], Path], tmp_path: Path
) -> None:
    if machine.torch_has("xpu"):
        pytest.skip("this machine may have one")
    refused = quantmill("plan", manifest("{nf4: {preset: nf4, device: xpu}}"), home=tmp_path / "home")
    said = "targets.nf4: device xpu is not on this machine, where torch"
    assert refused.code == 4 and said in refused.stderr, refused.stdout + refused.stderr
    wrong = quantmill("plan", manifest("{nf4: {preset: nf4, device: GPU}}"), home=tmp_path / "home")
    assert wrong.code == 2 and "format bitsandbytes does not run on" in wrong.stderr and "xpu" in wrong.stderr


def test_targets_for_the_devices_of_another_machine_are_told_and_left_out(
    manifest: Callable[[str], Path], tmp_path: Path
) -> None:
    home, wanted = tmp_path / "home", manifest("{int8: w8-rtn, npu: {preset: ov-w4-rtn-cw, device: NPU}}")
    told = "acme/small-npu: device NPU is not on this machine"
    planned = quantmill("plan", wanted, home=home)
    assert planned.code == 4 and told in planned.stderr and "int8" in planned.stdout, planned.stderr
    seen = quantmill("plan", wanted, "--json", home=home)
    assert seen.code == 4 and [row["target"] for row in seen.json["jobs"]] == ["int8"]
    assert told in seen.json["left_out"][0]


def test_an_accelerator_to_calibrate_on_is_looked_for(manifest: Callable[[str], Path], tmp_path: Path) -> None:
    if any(Path(node).exists() for node in ("/dev/dri", "/dev/dxg")) and "+cpu" not in libraries.installed("torch"):
        pytest.skip("this machine may have one")
    wanted = manifest("{int4: w4-awq-g64}").read_text().replace("tokens: 64}", "tokens: 64, device: xpu}")
    path = tmp_path / "room" / "demo" / "m.yaml"
    path.write_text(wanted)
    refused = quantmill("plan", path, home=tmp_path / "home")
    assert refused.code == 4 and "calibration.device xpu is not on this machine" in refused.stderr


def test_a_package_that_is_missing_is_named(
    manifest: Callable[[str], Path], tmp_path: Path, without: Callable[[str], str]
) -> None:
    wanted, hidden = manifest("{int8: w8-rtn, nf4: nf4}"), without("bitsandbytes")
    imported = subprocess.run(
        [sys.executable, "-c", "import bitsandbytes"],
        env={**os.environ, "PYTHONPATH": hidden},
        capture_output=True,
        text=True,
    )
    assert "ModuleNotFoundError: No module named 'bitsandbytes'" in imported.stderr
    for verb in ("plan", "run"):
        ran = quantmill(verb, wanted, home=tmp_path / "home", PYTHONPATH=hidden)
        assert ran.code == 4, ran.stdout + ran.stderr
        assert "targets.nf4: the package bitsandbytes is not installed" in ran.stderr and ran.stderr.count("\n") == 1
        assert {path.name for path in (tmp_path / "home").iterdir()} == {"cache"}
    assert quantmill("plan", wanted, "--target", "int8", home=tmp_path / "home", PYTHONPATH=hidden).code == 0


@pytest.fixture
def without(tmp_path: Path) -> Callable[[str], str]:
    """Gives the path of an interpreter that has all packages but one: neither its code nor its metadata is found."""

    def hide(package: str) -> str:
        (tmp_path / "hidden").mkdir()
        (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDING.format(package=package))
        return os.pathsep.join([str(tmp_path / "hidden"), str(ROOT)])

    return hide


HIDING = """
import sys
from importlib.machinery import PathFinder
from importlib.metadata import MetadataPathFinder

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] == "{package}" else PathFinder.find_spec(name, path, target)

    @staticmethod
    def find_distributions(context):
        found = MetadataPathFinder.find_distributions(context)
        return (each for each in found if each.name != "{package}")

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""


def test_more_memory_than_there_is(
    manifest: Callable[[str], Path], tmp_path: Path, memory_group: Callable[[int], Path]
) -> None:
    assert 0 < memory_bytes() <= psutil.virtual_memory().total + psutil.swap_memory().total
    wanted, group = manifest("{int8: w8-rtn}"), memory_group(400_000_384)
    joined = f"echo 0 > {group / 'cgroup.procs'} && exec {sys.executable} -m flows.cli.app"
    for verb in ("plan", "run"):
        command = f"{joined} {verb} {wanted} --home {tmp_path / 'home'}"
        ran = subprocess.run(["sh", "-c", command], env=ENVIRONMENT, capture_output=True, text=True)
        assert ran.returncode == 4, ran.stdout + ran.stderr
        assert "targets.int8: about" in ran.stderr and "this machine has 400.0 MB" in ran.stderr, ran.stderr
        assert ran.stderr.count("\n") == 1
        assert {path.name for path in (tmp_path / "home").iterdir()} == {"cache"}
    assert quantmill("plan", wanted, home=tmp_path / "home").code == 0


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
