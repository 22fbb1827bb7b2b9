import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.server import prefect_server

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def quantmill(*arguments: object, home: Path, cwd: Path | None = None, **environment: str) -> Ran:
    command = [sys.executable, "-m", "flows.cli.app", *map(str, arguments), "--home", str(home)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=settings)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One real Prefect server for all runs of the session."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as address:
        yield address


def room(directory: Path) -> Path:
    """A user's room with the demo in it; returns the demo's manifest."""
    shutil.copytree(ROOT / "manifests" / "demo", directory / "demo")
    return directory / "demo" / "demo.yaml"


CGROUPS = {
    Path("/sys/fs/cgroup/memory"): ("memory.limit_in_bytes",),
    Path("/sys/fs/cgroup"): ("memory.max",),
}
"""Where groups are made, and the files that take a limit: version 1, version 2."""


@dataclass(frozen=True)
class Demo:
    manifest: Path
    home: Path
    ran: Ran


@pytest.fixture(scope="session")
def demo(prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, milled once for all tests that look at what comes of it."""
    directory = tmp_path_factory.mktemp("demo")
    manifest = room(directory)
    return Demo(manifest, directory / "home", quantmill("run", manifest, "--json", home=directory / "home"))


@pytest.fixture
def memory_group() -> Iterator[Callable[[int], Path]]:
    """Makes a control group that may use so many bytes; a process joins by writing 0 to its `cgroup.procs`."""
    made: list[Path] = []

    def make(limit: int) -> Path:
        for root, names in CGROUPS.items():
            group = root / f"quantmill-test-{os.getpid()}"
            try:
                group.mkdir()
                made.append(group)
                for name in names:
                    (group / name).write_text(str(limit))
            except OSError:
                continue
            return group
        pytest.skip("no control group that limits memory can be made here")

    yield make
    for group in made:
        group.rmdir()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small disk, `disk("size=700k")`, or changes one that is mounted, `disk("ro", mountpoint)`."""
    mounted: list[Path] = []

    def mount(options: str, mountpoint: Path | None = None) -> Path:
        if mountpoint is None:
            mountpoint = tmp_path / f"disk{len(mounted)}"
            mountpoint.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mountpoint)]
        else:
            command = ["mount", "-o", f"remount,{options}", str(mountpoint)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        if mountpoint not in mounted:
            mounted.append(mountpoint)
        return mountpoint

    yield mount
    for mountpoint in mounted:
        subprocess.run(["umount", "--lazy", mountpoint], check=True)
