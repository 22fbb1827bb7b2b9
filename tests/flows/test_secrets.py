"""A server that quotes the token back: it is nowhere on the disk, nowhere on the terminal, and no process has it in vain."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from catalog.errors import Fault
from flows.execution import child
from flows.server import prefect_server
from publishers.request import Request, Subject
from tests.flows.conftest import ROOT, quantmill
from tests.flows.test_hub import MANIFEST
from tests.publishers.conftest import artifact, model, subject  # noqa: F401
from tests.publishers.loopback_hub import Answer, LoopbackHub
from tests.publishers.loopback_repository import File

pytestmark = pytest.mark.xdist_group("nights")
# Visible ASCII is all that a token can be held to.
TOKEN = 'hf_loop"back\\secret%7Bkey&'


def spellings(token: str) -> dict[str, str]:
    return {
        "plain": token,
        "repr": repr(token)[1:-1],
        "JSON": json.dumps(token)[1:-1],
        "URL": quote(token, safe=""),
        "base64": base64.b64encode(token.encode()).decode(),
    }


def echo() -> Answer:
    said = " | ".join(spellings(TOKEN).values())
    return Answer(403, {"error": f"No rights with {said}"}, {"X-Error-Message": f"No rights with {said}"})


def held_by(data: bytes) -> list[str]:
    return [name for name, form in spellings(TOKEN).items() if form.encode() in data]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub(token=TOKEN) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.delenv("PREFECT_API_URL", raising=False)
        files = (ROOT / "manifests" / "demo" / "model").iterdir()
        tree = {path.name: File(path.read_bytes(), large=path.suffix == ".safetensors") for path in files}
        server.create("maker/docstring-llama").add(tree)
        yield server


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "evaluation.jsonl").write_text(json.dumps({"text": "Some text to be scored."}) + "\n")
    (tmp_path / "room" / "hub.yaml").write_text(MANIFEST)
    return tmp_path / "room" / "hub.yaml"


@pytest.mark.slow
def test_a_run_writes_no_token_and_hands_it_to_the_one_process_that_needs_it(
    hub: LoopbackHub, manifest: Path, tmp_path: Path
) -> None:
    home, server = tmp_path / "home", tmp_path / "server"
    seen: dict[str, bool] = {}

    def before(method: str, path: str) -> Answer | None:
        if method != "GET" or not path.endswith("tokenizer.json"):  # read to fetch the model, not while planning
            return None
        for process in psutil.process_iter(["cmdline"]):
            command = " ".join(process.info["cmdline"] or [])
            if "launch.py" in command and (str(home) in command or str(server) in str(process.environ())):
                seen["server" if "prefect" in command else "fetch"] = TOKEN in process.environ().values()
        return echo()

    hub.before = before
    with prefect_server(server):
        ran = quantmill("--debug", "run", manifest, home=home)
        files = {
            path: path.read_bytes() for directory in (home, server) for path in directory.rglob("*") if path.is_file()
        }
    assert ran.code == 2 and "***" in ran.stdout + ran.stderr
    assert held_by((ran.stdout + ran.stderr).encode()) == []
    assert [(path, forms) for path, data in files.items() if (forms := held_by(data))] == []
    # What was searched is all of it: the log with its chained traceback, the failure, Prefect's database.
    assert any(path.name == "log.txt" and b"rights with ***" in data for path, data in files.items())
    assert any(path.parent.name == "failures" and b"***" in data for path, data in files.items())
    assert any("prefect.db" in path.name and b"***" in data for path, data in files.items())
    assert seen == {"server": False, "fetch": True}


def test_the_log_of_a_publisher_quotes_no_token(
    hub: LoopbackHub,
    subject: Subject,  # noqa: F811
    tmp_path: Path,
) -> None:
    hub.before = lambda method, path: echo() if "/api/models/acme" in path else None
    (tmp_path / "work" / "out").mkdir(parents=True)
    request = Request(subject=subject, to=("hub",), home=tmp_path / "home", private=True)
    with pytest.raises(Fault) as caught:
        child.run("publishers", request, tmp_path / "work", progress=lambda *event: None, network="token")
    log = (tmp_path / "work" / "log.txt").read_bytes()
    assert b"Traceback" in log and b"***" in log
    assert held_by(log) == held_by(str(caught.value).encode()) == []


def test_planning_quotes_no_token(hub: LoopbackHub, manifest: Path, tmp_path: Path) -> None:
    hub.before = lambda method, path: echo()
    ran = quantmill("--debug", "plan", manifest, home=tmp_path / "home")
    assert ran.code == 2
    assert "Traceback" in ran.stderr and "***" in ran.stderr
    assert held_by((ran.stdout + ran.stderr).encode()) == []


@pytest.mark.parametrize("command", [["run"], ["plan"], ["report"], ["pull", "--at", "hub"], ["verify", "--at", "hub"]])
def test_what_cannot_be_a_token_is_refused_before_any_work(
    command: list[str], hub: LoopbackHub, manifest: Path, tmp_path: Path
) -> None:
    verb, *options = command
    named = "acme/docstring-llama-int8" if options else manifest
    ran = quantmill(verb, named, *options, home=tmp_path / "home", HF_TOKEN="hf_first\nlast_part")
    assert ran.code == 2, ran.stdout + ran.stderr
    assert "HF_TOKEN does not hold a token" in ran.stderr and "line break" in ran.stderr
    assert "first" not in ran.stderr and "last_part" not in ran.stderr
    assert hub.requests == []
    assert not (tmp_path / "home").exists()


def test_doctor_says_that_a_token_is_none(tmp_path: Path) -> None:
    ran = quantmill("doctor", "--json", home=tmp_path / "home", HF_TOKEN="hf_first\nlast_part")
    assert ran.code == 0
    assert "does not hold a token" in ran.json["hub"]["token"] and "last_part" not in ran.stdout
