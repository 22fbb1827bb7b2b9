"""One set of rules: what publishing refuses, nobody is handed either, however well its hashes agree."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from publishers.destinations.cache import snapshot_of
from publishers.destinations.hub import Hub
from publishers.destinations.local import Local
from publishers.errors import PublishError
from publishers.provenance import PROVENANCE, File, Provenance, read_provenance
from publishers.pull import pull
from publishers.request import Subject
from publishers.stage import Staged, stage
from publishers.verify import verify
from tests.publishers.loopback_hub import LoopbackHub
from tests.publishers.loopback_repository import File as HubFile

pytestmark = pytest.mark.usefixtures("without_waiting")


@pytest.fixture
def staged(subject: Subject, home: Path, tmp_path: Path) -> Staged:
    return stage(subject, tmp_path / "stage", home)


def write(path: str, content: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).unlink(missing_ok=True)
        (directory / path).write_text(content)

    return change


def fail_the_verdict(directory: Path) -> None:
    provenance = read_provenance(directory)
    failed = provenance.verdict | {"passed": False, "outcome": "failed", "sentence": "KLD 3.1 nats, limit 0.05."}
    write(PROVENANCE, provenance.model_copy(update={"verdict": failed}).model_dump_json())(directory)


def gguf(key: str, value: str, cut: bool = False) -> Callable[[Path], None]:
    """Put a GGUF beside the rest of the release, and say that it is one."""

    def change(directory: Path) -> None:
        file = directory / "model.gguf"
        writer = GGUFWriter(file, "llama")
        writer.add_string(key, value)
        writer.add_tensor("output_norm.weight", np.ones(64, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        if cut:
            file.write_bytes(file.read_bytes()[:-40])
        provenance = read_provenance(directory)
        write(PROVENANCE, provenance.model_copy(update={"format": "gguf"}).model_dump_json())(directory)

    return change


FORGERIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "code": (write("modeling.py", "import os"), r"modeling\.py, a kind of file that is never released"),
    "pickle": (write("adapter.pt", "x"), r"adapter\.pt, a kind"),
    "auto_map": (write("config.json", json.dumps({"auto_map": {"AutoModel": "modeling.M"}})), "auto_map"),
    "hidden": (write(".cache/huggingface/modeling.py", "import os"), r"'\.cache/huggingface/modeling\.py'"),
    "compiled": (write("model_cache/modeling.py", "import os"), r"model_cache/modeling\.py, a kind"),
    "home": (write("generation_config.json", json.dumps({"_name_or_path": "/home/me"})), "_name_or_path"),
    "gguf": (gguf("general.source.url", "file:///home/me/model"), r"model\.gguf.*/home/me"),
    "cut gguf": (gguf("general.name", "demo", cut=True), "not a whole GGUF"),
    "verdict": (fail_the_verdict, r"did not pass its gates.*3\.1 nats"),
}


def forged(staged: Staged, change: Callable[[Path], None], directory: Path) -> Staged:
    """A release that agrees with itself in every hash, and that publishing would refuse."""
    shutil.copytree(staged.directory, directory)
    change(directory)
    paths = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    files = {
        path.relative_to(directory).as_posix(): File(
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size=path.stat().st_size
        )
        for path in paths
    }
    others = {path: file for path, file in files.items() if path != PROVENANCE}
    provenance = Provenance.model_validate({**read_provenance(directory).model_dump(), "files": others})
    write(PROVENANCE, provenance.model_dump_json())(directory)
    record = (directory / PROVENANCE).read_bytes()
    files[PROVENANCE] = File(sha256=hashlib.sha256(record).hexdigest(), size=len(record))
    return Staged(staged.name, directory, files, provenance)


def put_on_hub(release: Staged, loopback: LoopbackHub, tag: str | None = "v1") -> str:
    repository = loopback.create(release.name)
    tree = {
        path: HubFile((release.directory / path).read_bytes(), path.endswith(".safetensors")) for path in release.files
    }
    commit = repository.add({**repository.commits[repository.head], **tree})
    if tag:
        repository.tags[tag] = commit
    return commit


@pytest.mark.parametrize("kind", FORGERIES)
def test_what_publishing_refuses_is_not_handed_over_by_the_local_hub(
    kind: str, staged: Staged, home: Path, tmp_path: Path
) -> None:
    change, words = FORGERIES[kind]
    Local("", home).publish(forged(staged, change, tmp_path / "forged"))
    with pytest.raises(PublishError, match=words):
        verify(Local("", home), staged.name)
    for to in (None, tmp_path / "pulled"):
        with pytest.raises(PublishError, match=words):
            pull(Local("", home), staged.name, None, to)
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize("kind", FORGERIES)
def test_what_publishing_refuses_is_not_handed_over_by_the_hub(
    kind: str, staged: Staged, home: Path, tmp_path: Path, loopback: LoopbackHub
) -> None:
    change, words = FORGERIES[kind]
    put_on_hub(forged(staged, change, tmp_path / "forged"), loopback)
    with pytest.raises(PublishError, match=words):
        verify(Hub("", home), staged.name, "v1")
    with pytest.raises(PublishError, match=words):
        pull(Hub("", home), staged.name, None, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists() and not list(tmp_path.glob(".pulled*"))


def test_a_path_that_leads_out_is_refused_before_anything_is_fetched(
    staged: Staged, home: Path, tmp_path: Path, loopback: LoopbackHub
) -> None:
    commit = put_on_hub(staged, loopback)
    loopback.repositories[staged.name].commits[commit]["../../outside.txt"] = HubFile(b"x", large=False)
    with pytest.raises(PublishError, match=r"'\.\./\.\./outside\.txt'"):
        pull(Hub("", home), staged.name, "v1", tmp_path / "a" / "b" / "pulled")
    assert not list(tmp_path.rglob("outside.txt")) and loopback.count("GET", "/resolve/") == 0


def test_a_head_without_a_version_is_not_handed_over(
    staged: Staged, home: Path, tmp_path: Path, loopback: LoopbackHub
) -> None:
    put_on_hub(staged, loopback, tag=None)
    with pytest.raises(PublishError, match=r"no release called"):
        pull(Hub("", home), staged.name, None, tmp_path / "pulled")
    with pytest.raises(PublishError, match="no release called"):
        verify(Hub("", home), staged.name)
    Local("", home).publish(staged)
    (Local("", home).repository(staged.name) / "refs" / "main").write_text("b" * 40)
    for ask in (lambda: pull(Local("", home), staged.name, None, None), lambda: verify(Local("", home), staged.name)):
        with pytest.raises(PublishError, match=r"is none of its versions \(v1\)"):
            ask()
    assert verify(Local("", home), staged.name, "v1").version == "v1"


def test_what_openvino_compiled_beside_a_release_is_no_part_of_it(staged: Staged, home: Path, tmp_path: Path) -> None:
    published = Local("", home).publish(staged)
    snapshot = snapshot_of(Local("", home).repository(staged.name), published.commit)
    (snapshot / "model_cache").mkdir()
    (snapshot / "model_cache" / "8173.blob").write_bytes(b"kernels")
    assert verify(Local("", home), staged.name).commit == published.commit
    pull(Local("", home), staged.name, None, tmp_path / "pulled")
    assert not (tmp_path / "pulled" / "model_cache").exists()
    (snapshot / "linked").symlink_to(tmp_path)
    with pytest.raises(PublishError, match="linked is no part of the release"):
        verify(Local("", home), staged.name)
