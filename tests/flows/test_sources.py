"""Names of the Hub, pinned while planning: what is waited for, and what is said when waiting ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import InputError, NetworkFault
from flows.files.fingerprint import ContentHashes
from flows.planning.sources import Sources
from flows.store import Store
from tests.publishers.loopback_hub import HELD, Answer, LoopbackHub
from tests.publishers.loopback_repository import File

WEIGHTS = (Path(__file__).parents[2] / "manifests" / "demo" / "model" / "model.safetensors").read_bytes()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub with one model. Nothing sleeps, and one second is what is waited for an answer."""
    with LoopbackHub(token="hf_loopback_secret") as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        tree = {"config.json": File(b"{}", large=False), "model.safetensors": File(WEIGHTS, large=True)}
        server.create("maker/model", private=False).add(tree)
        yield server


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(Store(tmp_path), ContentHashes(tmp_path / "hashes.json"))


@pytest.mark.parametrize("status", [HELD, 503, 500])
def test_a_hub_that_is_away_is_no_fault_of_the_name(
    hub: LoopbackHub, sources: Sources, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.05")
    hub.before = lambda method, path: Answer(status, {"error": "try later"})
    with pytest.raises(NetworkFault, match="check the network and HF_ENDPOINT"):
        sources.commit("model", "maker/model", "main")
    assert hub.count("GET", "maker/model") == 3


def test_a_fault_that_passes_is_outlived(hub: LoopbackHub, sources: Sources) -> None:
    faults = iter([Answer(503, {"error": "try later"})])
    hub.before = lambda method, path: next(faults, None)
    assert sources.commit("model", "maker/model", "main") == hub.repositories["maker/model"].head


def test_a_name_that_nobody_knows_is_asked_for_once(hub: LoopbackHub, sources: Sources) -> None:
    with pytest.raises(InputError, match="check the spelling"):
        sources.commit("model", "maker/no-such-model", "main")
    assert hub.count("GET", "no-such-model") == 1


def test_headers_that_never_come_are_given_up(
    hub: LoopbackHub, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.05")
    hub.before = lambda method, path: Answer(HELD) if "/resolve/" in path and method == "GET" else None
    with pytest.raises(NetworkFault, match="the headers of maker/model"):
        sources._remote_headers("maker/model", hub.repositories["maker/model"].head)
