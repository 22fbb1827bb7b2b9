"""A Hub model becomes a release on the Hub: fetched, milled, published with one commit and pulled back, all on loopback."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import ROOT, quantmill
from tests.publishers.loopback_hub import LoopbackHub
from tests.publishers.loopback_repository import File

pytestmark = pytest.mark.xdist_group("nights")
MANIFEST = """
model: {source: maker/docstring-llama}
evaluation: {files: [evaluation.jsonl], tokens: 256, documents: 64}
targets: {int8: {dtype: int8, group_size: 128}}
publish: {to: [local, hub], namespace: acme}
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub(token="hf_loopback_secret") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", server.token)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        files = (ROOT / "manifests" / "demo" / "model").iterdir()
        tree = {path.name: File(path.read_bytes(), large=path.suffix == ".safetensors") for path in files}
        server.create("maker/docstring-llama").add(tree)
        yield server


@pytest.mark.slow
def test_from_a_hub_model_to_a_hub_release_and_back(prefect: str, hub: LoopbackHub, tmp_path: Path) -> None:
    room, home = tmp_path / "room", tmp_path / "home"
    room.mkdir()
    (room / "hub.yaml").write_text(MANIFEST)
    evaluation = (ROOT / "manifests" / "demo" / "evaluation.jsonl").read_text()
    (room / "evaluation.jsonl").write_text(evaluation)

    planned = quantmill("plan", room / "hub.yaml", "--json", home=home)
    assert planned.code == 0, planned.stderr
    assert planned.json["jobs"][0]["steps"][0] == "fetch"
    assert planned.json["jobs"][0]["predicted"]["disk_bytes"] > 4_000_000
    whole = [path for verb, path in hub.requests if verb == "GET" and path.endswith("model.safetensors")]
    assert not (home / "sources").exists(), whole

    ran = quantmill("run", room / "hub.yaml", "--json", home=home)
    assert ran.code == 0, ran.stdout + ran.stderr
    published = {entry["to"]: entry for entry in ran.json[0]["places"]}
    assert set(published) == {"local", "hub"}
    assert hub.count("POST", "/commit/") == 1
    release = hub.repositories["acme/docstring-llama-int8"]
    assert release.tags == {"v1": published["hub"]["commit"]}
    assert release.private
    written = "".join(path.read_text(errors="ignore") for path in home.rglob("*") if path.suffix in (".json", ".txt"))
    assert hub.token not in written

    pulled = quantmill(
        "pull", "acme/docstring-llama-int8@v1", "--at", "hub", "--to", tmp_path / "pulled", "--json", home=home
    )
    assert pulled.code == 0, pulled.stderr
    local = home / "hub" / "models--acme--docstring-llama-int8" / "snapshots" / published["local"]["commit"]
    for path in local.rglob("*"):
        if path.is_file():
            assert (tmp_path / "pulled" / path.relative_to(local)).read_bytes() == path.read_bytes()
    command = [sys.executable, "-c", pulled.json["snippet"]]
    loaded = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert loaded.returncode == 0, loaded.stderr[-2000:]

    again = quantmill("run", room / "hub.yaml", home=home)
    assert (again.code, "Nothing to do" in again.stdout) == (0, True)
    assert f"Released: {published['hub']['url']}\n" in again.stdout
    assert hub.count("POST", "/commit/") == 1

    # Offline, what was resolved before still counts; a new upstream commit makes the job stale.
    offline = quantmill("plan", room / "hub.yaml", "--json", home=home, HF_HUB_OFFLINE="1")
    assert offline.json["jobs"][0]["state"] == "released"
    source = hub.repositories["maker/docstring-llama"]
    changed = {**source.commits[source.head], "README.md": File(b"---\nlicense: mit\n---\n", large=False)}
    source.add(changed)
    moved = quantmill("plan", room / "hub.yaml", "--json", home=home).json["jobs"][0]
    assert moved["state"] == "stale"
    assert "changed: model" in moved["why"]

    # Of a manifest that is gone and a release that was removed nothing is needed: the model in its cache goes, too.
    (room / "hub.yaml").unlink()
    weights = list((home / "sources").glob("models--maker--*/blobs/*"))
    assert quantmill("gc", "--yes", home=home).code == 0
    assert weights and all(path.exists() for path in weights)
    assert quantmill("rm", "acme/docstring-llama-int8", home=home).code == 0
    shutil.rmtree(home / "store" / "publish")  # that of the Hub, too, which could be made again from it
    assert quantmill("gc", "--yes", home=home).code == 0
    assert not [path for path in weights if path.exists()]


def test_a_model_is_looked_at_once_more_when_it_was_fetched(prefect: str, hub: LoopbackHub, tmp_path: Path) -> None:
    """What only its files tell, here a tokenizer that is cut short, is told before anything is made of it."""
    room, home = tmp_path / "room", tmp_path / "home"
    room.mkdir()
    (room / "hub.yaml").write_text(MANIFEST)
    (room / "evaluation.jsonl").write_text((ROOT / "manifests" / "demo" / "evaluation.jsonl").read_text())
    assert quantmill("plan", room / "hub.yaml", home=home).code == 0
    source = hub.repositories["maker/docstring-llama"]
    tree = source.commits[source.head]
    tree["tokenizer.json"] = File(tree["tokenizer.json"].content[:-200], large=False)
    refused = quantmill("run", room / "hub.yaml", home=home)
    assert refused.code == 2, refused.stdout + refused.stderr
    assert "tokenizer.json" in refused.stdout and not list((home / "store").glob("quantize/*/record.json"))


def test_without_a_token_nothing_is_started(hub: LoopbackHub, tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "hub.yaml").write_text(MANIFEST)
    (room / "evaluation.jsonl").write_text((ROOT / "manifests" / "demo" / "evaluation.jsonl").read_text())
    ran = quantmill("run", room / "hub.yaml", home=tmp_path / "home", HF_TOKEN="")
    assert ran.code == 2
    assert "HF_TOKEN" in ran.stderr
    assert not (tmp_path / "home" / "store").exists()


@pytest.mark.parametrize(
    ("source", "words"), [("maker/no-such-model", "does not show"), ("maker/docstring-llama", "v9")]
)
def test_a_model_that_the_hub_does_not_show_is_bad_input(
    source: str, words: str, hub: LoopbackHub, tmp_path: Path
) -> None:
    (tmp_path / "hub.yaml").write_text(MANIFEST.replace("maker/docstring-llama", f"{source}, revision: v9"))
    (tmp_path / "evaluation.jsonl").write_text(json.dumps({"text": "Some text."}) + "\n")
    ran = quantmill("plan", tmp_path / "hub.yaml", home=tmp_path / "home")
    assert ran.code == 2
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
