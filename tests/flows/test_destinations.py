"""What is known of destinations before the work: told by plan and run, and never at the price of the plan."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import EnvironmentFault, InputError
from flows.cli.app import main
from flows.errors import UsageError
from flows.planning.destinations import refuse_unpublishable, refuse_without_access
from flows.planning.plan import Plan, plan, read
from flows.store import Store
from publishers.destinations.client import apply_hub_settings
from tests.flows.conftest import ROOT
from tests.publishers.loopback_hub import HELD, Answer, LoopbackHub
from tests.publishers.loopback_repository import File

MODEL = ROOT / "manifests" / "demo" / "model"
MANIFEST = """
model: {source: ./model}
evaluation: {files: [evaluation.jsonl]}
targets: {int8: {dtype: int8, group_size: 128}, int4: {dtype: int4, group_size: 64}}
publish: {to: [local, TO], namespace: acme}
"""


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    apply_hub_settings()
    with LoopbackHub(token="hf_loopback_secret") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", server.token)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield server


def planned(room: Path, to: str) -> Plan:
    (room / "m.yaml").write_text(MANIFEST.replace("TO", to))
    if not (room / "model").exists():
        (room / "model").symlink_to(MODEL)
        (room / "evaluation.jsonl").write_bytes((MODEL.parent / "evaluation.jsonl").read_bytes())
    return plan(read([room / "m.yaml"], allow_path=True), Store(room / "home"))


def test_a_repository_that_is_somebody_elses_is_told_by_plan(loopback: LoopbackHub, tmp_path: Path) -> None:
    todo = planned(tmp_path, "hub")
    refuse_unpublishable(todo, tmp_path)
    assert loopback.repositories == {}, "asking makes nothing"
    theirs = loopback.create("acme/model-int4")
    theirs.add({"README.md": File(b"# Mine", large=False)})
    with pytest.raises(InputError, match=r"acme/model-int4 on the Hub holds files .* \(README\.md\)"):
        refuse_unpublishable(todo, tmp_path)
    loopback.repositories.clear()
    loopback.create("acme/model-int8", private=False)
    with pytest.raises(InputError, match="acme/model-int8 on the Hub is public"):
        refuse_unpublishable(todo, tmp_path)


def test_the_command_line_tells_it_before_anything_is_made(
    loopback: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned(tmp_path, "hub")
    loopback.create("acme/model-int8", private=False)
    for verb in ("plan", "run"):
        assert main([verb, str(tmp_path / "m.yaml"), "--allow-path", "--home", str(tmp_path / "home")]) == 2
        assert "Write `private: false`" in capsys.readouterr().err
    assert not (tmp_path / "home" / "store").exists()


@pytest.mark.parametrize("status", [503, HELD])
def test_a_hub_that_is_away_stops_no_plan(
    loopback: LoopbackHub, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.05")
    loopback.before = lambda method, path: Answer(status, {"error": "try later"})
    refuse_unpublishable(planned(tmp_path, "hub"), tmp_path)
    assert loopback.count("GET", "auth-check") == 2


def test_without_token_or_network_plan_asks_nothing_and_run_refuses(
    loopback: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = planned(tmp_path, "hub")
    for variable, value, words in (("HF_TOKEN", "", "in HF_TOKEN"), ("HF_HUB_OFFLINE", "1", "HF_HUB_OFFLINE says")):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            refuse_unpublishable(todo, tmp_path)
            with pytest.raises(UsageError, match=words):
                refuse_without_access(todo)
    assert loopback.requests == []


def test_a_directory_that_cannot_take_releases_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="does not exist: mount the share"):
        refuse_unpublishable(planned(tmp_path, "directory:share"), tmp_path)
    with pytest.raises(EnvironmentFault, match="cannot take releases"):
        refuse_unpublishable(planned(tmp_path, "directory:/proc"), tmp_path)
    (tmp_path / "share").mkdir()
    refuse_unpublishable(planned(tmp_path, "directory:share"), tmp_path)
    assert list((tmp_path / "share").iterdir()) == []
