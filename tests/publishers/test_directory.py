"""A directory as a hub for others: another file system, several writers, stock tools, and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import EnvironmentFault
from flows.cli.app import main
from publishers.destinations.directory import Directory
from publishers.destinations.local import Local
from publishers.request import Request, Subject
from publishers.stage import Staged, stage
from tests.publishers.conftest import hashes
from tests.publishers.test_kill import assert_whole, layout, publish_and_die


@pytest.fixture
def share() -> Iterator[Path]:
    """On another file system than the releases are made on, where there is one: nothing can be linked across."""
    there = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=there, prefix="quantmill-share-") as directory:
        yield Path(directory)


@pytest.fixture
def staged(subject: Subject, home: Path, tmp_path: Path) -> Staged:
    return stage(subject, tmp_path / "stage", home)


def other(subject: Subject, group_size: int) -> Subject:
    return subject.model_copy(update={"recipe": {**subject.recipe, "group_size": group_size}})


def test_it_is_laid_out_as_the_local_hub(staged: Staged, share: Path, home: Path) -> None:
    published = Directory(str(share), home).publish(staged)
    Local("", home).publish(staged)
    assert layout(share) == layout(home)
    assert published.to == f"directory:{share}" and hashes(Path(published.url)) == {
        path: file.sha256 for path, file in staged.files.items()
    }


@pytest.mark.slow
def test_killed_before_every_change_of_the_file_system(subject: Subject, share: Path, tmp_path: Path) -> None:
    first, second = (stage(other(subject, size), tmp_path / f"stage-{size}", tmp_path) for size in (64, 32))
    undisturbed = tmp_path / "undisturbed"
    for staged in (first, second):
        Local("", undisturbed).publish(staged)
    moment, killed = 0, True
    while killed:
        root = share / str(moment)
        root.mkdir()
        directory = Directory(str(root), tmp_path)
        directory.publish(first)
        killed = publish_and_die(second, directory, moment)
        assert_whole(root)
        assert directory.publish(second).version == "v2"
        assert layout(root) == layout(undisturbed), f"killed before change {moment}"
        moment += 1
    assert moment > 20, "the audit hook saw the publisher write"


@pytest.mark.slow
def test_several_stores_publish_into_it_and_some_are_killed(subject: Subject, share: Path, tmp_path: Path) -> None:
    commands = []
    for number in range(6):
        request = tmp_path / f"{number}.json"
        made = Request(
            subject=other(subject, number % 3 + 1), home=tmp_path / f"home-{number}", to=(f"directory:{share}",)
        )
        request.write_text(made.model_dump_json())
        commands.append([sys.executable, "-m", "publishers", str(request), str(tmp_path / f"out-{number}")])
    children = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    while not list(share.glob("hub/models--*/snapshots/*")):  # some have come as far as publishing
        assert any(child.poll() is None for child in children)
    for child in children[:3]:
        child.kill()
    assert {child.wait() for child in children} <= {0, -signal.SIGKILL}
    assert_whole(share)
    assert [subprocess.run(command, stdout=subprocess.DEVNULL).returncode for command in commands] == [0] * 6
    assert_whole(share)
    published = [json.loads((tmp_path / f"out-{n}" / "result.json").read_text())["places"][0] for n in range(6)]
    assert sorted({release["version"] for release in published}) == ["v1", "v2", "v3"]
    assert all(published[n] == published[n + 3] for n in range(3))
    assert not list(share.glob("hub/models--*/.partial"))


def test_stock_tools_find_a_release_by_name(staged: Staged, share: Path, home: Path) -> None:
    Directory(str(share), home).publish(staged)
    program = (
        "from huggingface_hub import snapshot_download, hf_hub_download\n"
        f"print(snapshot_download({staged.name!r}, revision='v1'))\n"
        f"print(hf_hub_download({staged.name!r}, 'config.json'))"
    )
    for settings in ({"HF_HOME": str(share)}, {"HF_HUB_CACHE": str(share / "hub")}):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_HUB_OFFLINE": "1", **settings}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        snapshot, config = map(Path, done.stdout.split())
        assert hashes(snapshot) == {path: file.sha256 for path, file in staged.files.items()}
        assert config.read_bytes() == (staged.directory / "config.json").read_bytes()


def test_the_command_line_reads_it(
    subject: Subject, share: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = Directory(str(share), home)
    commits = [directory.publish(stage(other(subject, n), tmp_path / str(n), home)).commit for n in (1, 2)]
    at = ["--at", f"directory:{share}", "--home", str(home), "--json"]

    def told(*command: str) -> object:
        assert main([*command, *at]) == 0
        return json.loads(capsys.readouterr().out)

    listed = told("list")
    assert isinstance(listed, list) and [row["commit"] for row in listed] == commits
    shown = told("show", f"{subject.name}@v1")
    assert isinstance(shown, dict) and shown["recipe"]["group_size"] == 1
    assert told("diff", f"{subject.name}@v1", f"{subject.name}@v2")
    checked = told("verify", subject.name)
    assert isinstance(checked, dict) and checked["commit"] == commits[1]
    told("rollback", f"{subject.name}@v1")
    pulled = told("pull", subject.name, "--to", str(tmp_path / "pulled"))
    assert isinstance(pulled, dict) and pulled["version"] == "v1"
    in_place = told("pull", subject.name)
    assert isinstance(in_place, dict) and f'os.environ["HF_HOME"] = "{share}"' in in_place["snippet"]
    assert not home.exists(), "nothing of it goes through the store"


def test_what_cannot_take_releases_is_the_machines_fault(staged: Staged, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, words in (
        (tmp_path / "absent", "mount the share"),
        (tmp_path / "file", "mount"),
        (Path("/proc"), "cannot"),
    ):
        with pytest.raises(EnvironmentFault, match=words):
            Directory(str(path), tmp_path).preflight(staged.name)


def test_somebodys_model_of_that_name_is_left_alone(staged: Staged, share: Path, home: Path) -> None:
    repository = share / "hub" / "models--acme--demo-int4"
    for path, text in (("refs/main", "b" * 40), (f"snapshots/{'b' * 40}/config.json", "{}")):
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_text(text)
    directory = Directory(str(share), home)
    for act in (lambda: directory.preflight(staged.name), lambda: directory.publish(staged)):
        with pytest.raises(ValueError, match="holds a model that quantmill did not publish"):
            act()
    assert (repository / "refs/main").read_text() == "b" * 40
