"""One release in a local hub, and what can happen to it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.planning.jobs import Job
from flows.planning.plan import plan, read
from flows.store import Store
from publishers.destinations.destination import Release
from publishers.destinations.local import Local
from tests.flows.conftest import room
from tests.flows.results import milled, repository


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = room(tmp_path)
    kept = [
        line for line in path.read_text().splitlines() if not line.startswith(("  int8:", "  int4-", "  nf4:", "  ov-"))
    ]
    path.write_text("\n".join(kept) + "\n")
    return path


def job_of(manifest: Path, store: Store) -> Job:
    (planned,) = plan(read([manifest]), store).jobs
    return planned.job


@pytest.fixture
def job(manifest: Path, store: Store) -> Job:
    job = job_of(manifest, store)
    milled(job, store)
    return job


def find(home: Path, name: str) -> Release:
    return Local("", home).find(name)


def rollback(home: Path, name: str, version: str) -> None:
    local = Local("", home)
    local.rollback(local.find(name, version))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def blob_of(path: str) -> Callable[[Store, Job], Path]:
    def blob(store: Store, job: Job) -> Path:
        directory = find(store.home, job.release).directory
        assert directory
        return (directory / path).resolve()

    return blob


def damaged(name: str, store: Store, job: Job) -> None:
    folder, listed = repository(store, job), find(store.home, job.release)
    if name == "a byte of the weights":
        flip((listed.directory / "model.safetensors").resolve())
    elif name == "a byte of the card":
        flip((listed.directory / "README.md").resolve())
    elif name == "a blob":
        (listed.directory / "model.safetensors").resolve().unlink()
    elif name == "a link":
        (listed.directory / "config.json").unlink()
    elif name == "a file in place of a link":
        (listed.directory / "config.json").unlink()
        (listed.directory / "config.json").write_text("{}")
    elif name == "a version":
        (folder / "refs" / "v1").unlink()
    elif name == "all of it":
        shutil.rmtree(folder)
    else:
        (folder / "refs" / "main").unlink()


DAMAGES = (
    "a byte of the weights",
    "a byte of the card",
    "a blob",
    "a link",
    "a file in place of a link",
    "a version",
    "main",
    "all of it",
)
