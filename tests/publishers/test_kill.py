"""SIGKILL at every moment: readers never see half a release, and publishing again makes it whole and the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from publishers.destinations.destination import Destination
from publishers.destinations.local import Local
from publishers.entrypoint import run
from publishers.provenance import content_id
from publishers.request import Request, Subject
from publishers.stage import Staged, stage
from publishers.verify import verify
from tests.publishers.conftest import hashes
from tests.publishers.loopback_hub import Answer, LoopbackHub

pytestmark = pytest.mark.slow

CHANGES = ("os.rename", "os.link", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")


def publish_and_die(staged: Staged, destination: Destination, moment: int) -> bool:
    """Publish in a fork that is killed just before its `moment`-th change of the file system; whether it was."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
    left = moment

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(count)
        destination.publish(staged)
        os._exit(0)
    except BaseException:
        os._exit(1)


def assert_whole(home: Path) -> None:
    """What any reader can reach at this moment is a complete release."""
    for release in Local("", home).releases():
        verify(Local("", home), release.name, release.version)
    for repository in (home / "hub").glob("models--*"):
        for reference in (repository / "refs").glob("*"):
            commit = reference.read_text()
            assert content_id(hashes(repository / "snapshots" / commit)) == commit


def layout(home: Path) -> dict[str, str]:
    """Every file and link of the local hub, locks aside."""
    hub = home / "hub"
    contents = {}
    for path in sorted(hub.rglob("*")):
        if ".locks" not in path.parts and (path.is_symlink() or path.is_file()):
            content = str(path.readlink()) if path.is_symlink() else path.read_bytes().hex()
            contents[path.relative_to(hub).as_posix()] = content
    return contents


def test_killed_before_every_change_of_the_file_system(subject: Subject, tmp_path: Path) -> None:
    first = stage(subject, tmp_path / "first", tmp_path)
    second = stage(
        subject.model_copy(update={"recipe": {**subject.recipe, "group_size": 32}}), tmp_path / "second", tmp_path
    )
    undisturbed = tmp_path / "undisturbed"
    Local("", undisturbed).publish(first)
    Local("", undisturbed).publish(second)
    moment = 0
    while True:
        home = tmp_path / f"killed-{moment}"
        Local("", home).publish(first)
        killed = publish_and_die(second, Local("", home), moment)
        assert_whole(home)
        assert Local("", home).find(subject.name, "v1").commit == first.commit
        assert Local("", home).publish(second).version == "v2"
        assert layout(home) == layout(undisturbed), f"killed before change {moment}"
        if not killed:
            break
        moment += 1
    assert moment > 20, "the audit hook saw the publisher write"


def test_killed_at_random_moments_as_a_process(subject: Subject, tmp_path: Path) -> None:
    weights = os.urandom(1) * (48 << 20)
    (subject.artifact / "tokenizer.model").write_bytes(weights)
    subject = subject.model_copy(update={"files": hashes(subject.artifact)})
    home = tmp_path / "home"
    request = tmp_path / "request.json"
    request.write_text(Request(subject=subject, home=home).model_dump_json())
    command = [sys.executable, "-m", "publishers", str(request)]
    undisturbed = run(Request(subject=subject, home=tmp_path / "undisturbed"), tmp_path)
    start = time.monotonic()
    subprocess.run([*command, str(tmp_path / "warm")], check=True, stdout=subprocess.DEVNULL)
    length = time.monotonic() - start
    (tmp_path / "warm" / "result.json").unlink()
    chance = random.Random(0)
    for round_ in range(10):
        home.rename(tmp_path / f"old-{round_}") if round_ % 2 == 0 else None
        child = subprocess.Popen([*command, str(tmp_path / "out")], stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.3, 1.1) * length)
        child.kill()
        child.wait()
        assert_whole(home)
        home.mkdir(exist_ok=True)
    subprocess.run([*command, str(tmp_path / "out")], check=True, stdout=subprocess.DEVNULL)
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == json.loads(undisturbed.model_dump_json())
    assert layout(home) == layout(tmp_path / "undisturbed")
    assert not list((tmp_path / "out").glob("stage"))


def test_two_publishers_of_one_name_take_turns(subject: Subject, tmp_path: Path) -> None:
    home = tmp_path / "home"
    commands = []
    for number in range(4):
        request = tmp_path / f"{number}.json"
        other = subject.model_copy(update={"recipe": {**subject.recipe, "group_size": number % 2 + 1}})
        request.write_text(Request(subject=other, home=home).model_dump_json())
        commands.append([sys.executable, "-m", "publishers", str(request), str(tmp_path / f"out-{number}")])
    children = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    assert [child.wait() for child in children] == [0] * 4
    published = [json.loads((tmp_path / f"out-{n}" / "result.json").read_text())["places"][0] for n in range(4)]
    assert published[0] == published[2] and published[1] == published[3]
    assert {release["version"] for release in published} == {"v1", "v2"}
    assert_whole(home)


def test_a_publisher_waits_for_the_one_before(subject: Subject, tmp_path: Path) -> None:
    home = tmp_path / "home"
    request = tmp_path / "request.json"
    request.write_text(Request(subject=subject, home=home).model_dump_json())
    locks = home / "hub/.locks/models--acme--demo-int4"
    locks.mkdir(parents=True)
    with FileLock(locks / "publish.lock"):
        command = [sys.executable, "-m", "publishers", str(request), str(tmp_path / "out")]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not (tmp_path / "out/stage/quantmill.json").exists():
            assert child.poll() is None
            time.sleep(0.02)
        time.sleep(0.5)
        assert child.poll() is None and not Local("", home).repository(subject.name).exists()
    assert child.wait() == 0
    assert Local("", home).find(subject.name).version == "v1"


@pytest.mark.parametrize("part", ["/preupload/", "/lfs/", "/commit/main", "/tag/"])
def test_killed_while_talking_to_the_hub(subject: Subject, loopback: LoopbackHub, tmp_path: Path, part: str) -> None:
    request = tmp_path / "request.json"
    request.write_text(Request(subject=subject, home=tmp_path / "home", to=("hub",)).model_dump_json())
    command = [sys.executable, "-m", "publishers", str(request), str(tmp_path / "out")]
    environment = {**os.environ, "HF_ENDPOINT": loopback.url, "HF_TOKEN": loopback.token, "HF_HUB_OFFLINE": "0"}
    children: list[subprocess.Popen[bytes]] = []

    def kill(method: str, path: str) -> Answer | None:
        if part in path and method != "GET":
            children[0].kill()
            children[0].wait()
        return None

    loopback.after = kill
    children.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    assert children[0].wait() == -signal.SIGKILL
    loopback.after = lambda method, path: None
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    repository = loopback.repositories[subject.name]
    published = json.loads((tmp_path / "out" / "result.json").read_text())["places"][0]
    assert repository.tags == {"v1": published["commit"]} and len(repository.history) == 2
    assert loopback.token not in done.stdout + done.stderr
    assert not any(loopback.token in path.read_text(errors="replace") for path in tmp_path.rglob("*.json"))
