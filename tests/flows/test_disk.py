"""Disks that are full, read-only or hold something else: one paragraph, exit code 4, and nothing left behind."""

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from flows.files.cache import kept
from flows.files.durable import write_durably
from flows.files.fingerprint import ContentHashes
from tests.flows.conftest import Ran, quantmill, room

Disk = Callable[..., Path]
SMALL = """
model: {source: ./model, name: small}
evaluation: {files: [evaluation.jsonl], tokens: 128, documents: 8}
targets: {int8: w8-rtn}
publish: {to: local, namespace: acme}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return room(tmp_path / "room")


def one_paragraph(ran: Ran, *words: str) -> None:
    assert ran.code == 4, ran.stdout + ran.stderr
    assert ran.stderr.startswith("This machine: ") and ran.stderr.count("\n") == 1, ran.stderr
    assert all(word in ran.stderr for word in words), ran.stderr


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_store_that_cannot_be_written(verb: str, manifest: Path, disk: Disk) -> None:
    mountpoint = disk("size=50m")
    home = mountpoint / "home"
    home.mkdir()
    disk("ro", mountpoint)
    one_paragraph(quantmill(verb, manifest, home=home), f"{home} cannot be written", "read-only", "--home")


def test_what_needs_no_store_is_told_of_one_that_cannot_be_written(manifest: Path, disk: Disk) -> None:
    mountpoint = disk("size=50m")
    disk("ro", mountpoint)
    assert quantmill("list", home=mountpoint / "home").code == 0
    assert quantmill("doctor", home=mountpoint / "home").code == 0
    one_paragraph(quantmill("report", manifest, home=mountpoint / "home"), "read-only")


@pytest.mark.parametrize(
    ("below", "command"),
    [("", ["plan"]), ("", ["report"]), ("", ["doctor"]), ("", ["show", "acme/x"]), ("deeper/home", ["run"])],
)
def test_a_store_that_is_a_file(below: str, command: list[str], manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    verb, *named = command
    given = [manifest] if verb in ("plan", "run", "report") else named
    ran = quantmill(verb, *given, home=tmp_path / "file" / below if below else tmp_path / "file")
    one_paragraph(ran, f"{tmp_path / 'file'} is a file", "--home")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_report_goes_where_it_is_sent_or_says_why_not(manifest: Path, tmp_path: Path, disk: Disk) -> None:
    home, there = tmp_path / "home", tmp_path / "there"
    there.mkdir()
    for to, file in ((there, there / "report.html"), (tmp_path / "new" / "r.html", tmp_path / "new" / "r.html")):
        ran = quantmill("report", manifest, "--to", to, "--json", home=home)
        assert ran.code == 0 and Path(ran.json["report"]) == file and file.stat().st_size > 1000
        assert list(file.parent.iterdir()) == [file]
    (tmp_path / "file").touch()
    one_paragraph(quantmill("report", manifest, "--to", tmp_path / "file" / "r.html", home=home), "cannot be written")
    small = disk("size=4k")
    (small / "taken").write_bytes(bytes(4096))
    one_paragraph(quantmill("report", manifest, "--to", small / "r.html", home=home), "disk is full")
    assert [path.name for path in small.iterdir()] == ["taken"]


@pytest.mark.parametrize("damaged", ["[]", "null", "{", '{"/a": 1}', '{"/a": [1, 2]}', ""])
def test_what_planning_remembers_is_made_anew_when_damaged(damaged: str, manifest: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    planned = quantmill("plan", manifest, "--json", home=home)
    memory = home / "cache" / "hashes.json"
    before = json.loads(memory.read_text())
    memory.write_text(damaged)
    (home / "jobs").mkdir()
    for row in planned.json["jobs"]:
        (home / "jobs" / f"{row['release'].replace('/', '--')}.json").write_text(damaged)
    again = quantmill("plan", manifest, "--json", home=home)
    assert again.code == 0, again.stderr
    assert [row["key"] for row in again.json["jobs"]] == [row["key"] for row in planned.json["jobs"]]
    assert json.loads(memory.read_text()) == before


def test_a_write_that_fails_leaves_nothing(disk: Disk) -> None:
    mountpoint = disk("size=64k")
    write_durably(mountpoint / "file", b"old")
    with pytest.raises(OSError):
        write_durably(mountpoint / "file", bytes(100_000))
    assert [path.name for path in mountpoint.iterdir()] == ["file"]
    assert (mountpoint / "file").read_bytes() == b"old"
    hashes = ContentHashes(mountpoint / "cache" / "hashes.json")
    (mountpoint / "filler").write_bytes(bytes(shutil.disk_usage(mountpoint).free))
    hashes.file(mountpoint / "file")
    hashes.save()
    assert kept(mountpoint / "cache" / "hashes.json", dict[str, str]) is None
    assert not list(mountpoint.rglob(".hashes*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("prefect/run-*/server.log", "the Prefect server of this run keeps its database there"),
        ("scratch/baseline-*/out/documents", "the disk is full"),
    ],
)
def test_a_disk_that_fills_up_while_a_run_works(
    moment: str, words: str, manifest: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    manifest.write_text(SMALL)
    mountpoint = disk("size=60m")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(quantmill, "run", manifest, home=mountpoint / "home")
        while not running.done() and not list((mountpoint / "home").glob(moment)):
            time.sleep(0.02)
        with suppress(OSError), (mountpoint / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        ran = running.result()
    assert ran.code == 4, ran.stdout + ran.stderr
    told = " ".join((ran.stdout + ran.stderr).split())
    assert words in told and str(mountpoint) in told and "Traceback" not in told
    assert not list((mountpoint / "home").rglob(".*")) and not list((mountpoint / "home" / "prefect").glob("run-*"))
