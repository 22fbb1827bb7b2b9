"""A user without rights: what may not be read or written is told in one paragraph, and nothing is left half-made."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from flows.planning.plan import plan, read
from flows.store import Store
from tests.flows.conftest import ROOT, Ran, room
from tests.flows.results import milled

NOBODY = 65534
MANIFEST = """
model: {source: ./model, name: small}
evaluation: {files: [evaluation.jsonl], tokens: 128, documents: 8}
targets: {int8: w8-rtn}
publish: {to: local, namespace: acme}
"""
pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can start a process of another user"
)


@pytest.fixture
def house() -> Iterator[Path]:
    """A directory that all may enter, as those of pytest may not be, with a manifest that all may read."""
    directory = Path(mkdtemp(prefix="unprivileged-"))
    directory.chmod(0o755)
    manifest = room(directory)
    manifest.write_text(MANIFEST)
    yield directory
    shutil.rmtree(directory)


def as_nobody(stage: Path) -> list[str]:
    """What begins a command of the user nobody.

    An interpreter below a directory that others may not enter, such as /root, is shown to it in a mount namespace of its own.
    """
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    needed = {Path(sys.base_prefix), Path(sys.prefix), ROOT, *(Path(path) for path in sys.path if Path(path).is_dir())}
    closed = {path for each in needed for path in each.parents if not path.stat().st_mode & 0o001}
    if not closed:
        return become
    hidden = min(closed, key=lambda path: len(path.parts))
    shown = [path for path in needed if path.is_relative_to(hidden)]
    shown = [path for path in shown if not any(path != other and path.is_relative_to(other) for other in shown)]
    mounts = {path: stage / str(number) for number, path in enumerate(shown)}
    lines = [f"mkdir -p {mount} && mount --bind {path} {mount}" for path, mount in mounts.items()]
    lines.append(f"mount -t tmpfs -o mode=755 tmpfs {hidden}")
    lines += [f"mkdir -p {path} && mount --bind {mount} {path}" for path, mount in mounts.items()]
    return ["unshare", "--mount", "sh", "-ec", "\n".join([*lines, 'exec "$@"']), "sh", *become]


@pytest.fixture
def nobody(house: Path) -> Callable[..., Ran]:
    """Runs the command line as the user nobody."""
    caches, begin = house / "of-nobody", as_nobody(house / "interpreter")
    caches.mkdir()
    os.chown(caches, NOBODY, NOBODY)

    def run(*arguments: object, home: Path) -> Ran:
        command = [*begin, sys.executable, "-m", "flows.cli.app", *map(str, arguments), "--home", str(home)]
        environment = {"PATH": os.environ["PATH"], "HOME": str(caches), "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=house, env=environment, timeout=120)
        return Ran(done.returncode, done.stdout, done.stderr)

    tried = subprocess.run([*begin, sys.executable, "-c", ""], capture_output=True, text=True, cwd=house)
    if tried.returncode:
        pytest.skip(f"another user cannot run this interpreter here: {tried.stderr.strip().splitlines()[-1:]}")
    return run


def own(directory: Path) -> Path:
    for path in (directory, *directory.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return directory


def one_paragraph(ran: Ran, code: int, *words: str) -> None:
    assert ran.code == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr
    assert all(word in ran.stderr for word in words), ran.stderr


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_home_that_may_not_be_made(verb: str, house: Path, nobody: Callable[..., Ran]) -> None:
    before = sorted((house / "demo").rglob("*"))
    refused = nobody(verb, house / "demo" / "demo.yaml", home=house / "home")
    one_paragraph(refused, 4, f"{house / 'home'} cannot be written", "permission is denied", "--home")
    assert sorted((house / "demo").rglob("*")) == before and not (house / "home").exists()


@pytest.mark.parametrize("verb", ["run"])
def test_a_store_that_is_somebody_elses(verb: str, house: Path, nobody: Callable[..., Ran]) -> None:
    home = house / "home"
    (home / "store").mkdir(parents=True)
    (home / "cache").mkdir()
    refused = nobody(verb, house / "demo" / "demo.yaml", home=home)
    one_paragraph(refused, 4, f"{home} cannot be written", "permission is denied")
    assert sorted(path.name for path in home.rglob("*")) == ["cache", "store"]


@pytest.mark.parametrize("part", ["store", "hub"])
def test_a_part_of_the_home_that_is_somebody_elses(part: str, house: Path, nobody: Callable[..., Ran]) -> None:
    home = house / "home"
    home.mkdir()
    own(home)
    (home / part).mkdir()
    refused = nobody("run", house / "demo" / "demo.yaml", home=home)
    one_paragraph(refused, 4, f"{home} cannot be written", f"permission is denied on {home / part}")
    assert list((home / part).iterdir()) == []
    assert not (home / "prefect").exists() and not list(home.glob("store/*")) and not list(home.glob("scratch/*"))


@pytest.mark.parametrize("closed", ["model", "model/config.json", "model/model.safetensors", "evaluation.jsonl"])
def test_what_a_manifest_names_and_may_not_be_read(closed: str, house: Path, nobody: Callable[..., Ran]) -> None:
    home = house / "home"
    home.mkdir()
    own(home)
    (house / "demo" / closed).chmod(0o000)
    refused = nobody("run", house / "demo" / "demo.yaml", home=home)
    key = "evaluation.files" if closed.endswith("jsonl") else "model.source"
    one_paragraph(refused, 2, "demo/demo.yaml:", key, f"{house / 'demo' / closed} cannot be read", "Permission denied")
    assert not (home / "store").exists() and not (home / "prefect").exists()


def test_what_needs_no_rights_goes_on_in_a_store_that_may_only_be_read(house: Path, nobody: Callable[..., Ran]) -> None:
    home = house / "home"
    (planned,) = plan(read([house / "demo" / "demo.yaml"]), Store(home)).jobs
    milled(planned.job, Store(home))
    listed = nobody("list", "--json", home=home)
    assert listed.code == 0 and "docstring-llama" not in listed.stderr
    assert [row["release"] for row in json.loads(listed.stdout)] == ["acme/small-int8"], listed.stdout
    assert nobody("verify", "acme/small-int8", home=home).code == 0
    one_paragraph(nobody("rm", "acme/small-int8", home=home), 4, "permission is denied")
    assert nobody("verify", "acme/small-int8", home=home).code == 0
