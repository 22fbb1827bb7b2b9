"""Releases are loaded by name, offline, by stock clients in fresh processes: with the code that the card shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from publishers.destinations.hub import Hub
from publishers.destinations.local import Local
from publishers.pull import pull
from publishers.request import Subject
from publishers.stage import stage
from publishers.verify import verify
from tests.publishers.conftest import RECIPE, hashes, subject_of
from tests.publishers.loopback_hub import LoopbackHub

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load")]
ROOT = Path(__file__).parents[2]
MODEL = ROOT / "manifests/demo/model"
TARGETS: dict[str, dict[str, Any]] = {
    "int4": {"dtype": "int4", "group_size": 64},
    "nf4": {"dtype": "nf4", "group_size": 64, "format": "bitsandbytes"},
    "ov-int4": {"dtype": "int4", "group_size": 64, "format": "openvino", "engine": "nncf"},
}
# Runs each program of a JSON list in one process that imports nothing of ours; prints a JSON list of what they print.
RUNNER = """
import contextlib, io, json, sys
said = []
for program in json.load(open(sys.argv[1])):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(program, "snippet", "exec"), {"__name__": "__main__"})
    said.append(out.getvalue())
print(json.dumps([said, sorted(m for m in sys.modules if m.split(".")[0] in ("publishers", "quantizers", "gates", "flows"))]))
"""


LANGCHAIN = """
from langchain_huggingface import HuggingFacePipeline
asked = {"max_new_tokens": 32, "do_sample": False}
model = HuggingFacePipeline.from_model_id("acme/demo-int4", task="text-generation", pipeline_kwargs=asked)
print(model.invoke("The function returns"))
"""


def say(programs: list[str], scratch: Path, **environment: str) -> list[str]:
    """Run programs in one fresh process outside the repository; return what each printed."""
    (scratch / "programs.json").write_text(json.dumps(programs))
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHONPATH"))}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(scratch / "programs.json")],
        cwd=scratch,
        env={**inherited, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said, ours = json.loads(done.stdout.splitlines()[-1])
    assert ours == []
    return list(said)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """The demo model, really quantized into every format, by the quantizers' door."""
    scratch = tmp_path_factory.mktemp("quantized")
    request = scratch / "request.json"
    request.write_text(json.dumps({"model": str(MODEL), "targets": TARGETS}))
    subprocess.run([sys.executable, "-m", "quantizers", str(request), str(scratch / "out")], cwd=ROOT, check=True)
    made = {}
    for target, recipe in TARGETS.items():
        made[target] = subject_of(
            scratch / "out" / target,
            MODEL,
            name=f"acme/demo-{target}",
            target=target,
            format=recipe.get("format", "compressed-tensors"),
            recipe={**RECIPE, "transform": None, **recipe},
            files=hashes(scratch / "out" / target),
        )
    return made


@pytest.fixture(scope="module")
def store(subjects: dict[str, Subject], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose local hub holds all of them."""
    scratch = tmp_path_factory.mktemp("store")
    for target, subject in subjects.items():
        Local("", scratch / "home").publish(stage(subject, scratch / target, scratch / "home"))
    return scratch / "home"


def blocks(store: Path, name: str) -> list[str]:
    """The Python on a release's card."""
    local = Local("", store)
    card = local.read(local.find(name), "README.md").decode()
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def test_transformers_loads_by_name_and_the_card_is_right(store: Path, tmp_path: Path) -> None:
    in_place = pull(Local("", store), "acme/demo-int4")
    copied = pull(Local("", store), "acme/demo-int4", "v1", tmp_path / "copied")
    [int4], [nf4] = blocks(store, "acme/demo-int4"), blocks(store, "acme/demo-nf4")
    pinned = int4.replace('"acme/demo-int4"', f'"acme/demo-int4", revision="{in_place.commit}"')
    by_name, by_card, by_commit, by_path, other, by_chain = say(
        [in_place.snippet, int4, pinned, copied.snippet, nf4, LANGCHAIN], tmp_path, HF_HUB_OFFLINE="1"
    )
    assert len(by_name) > len("The function returns") and by_name.startswith("The function returns")
    assert by_name == by_card == by_commit == by_path == by_chain
    assert other.startswith("The function returns")
    assert verify(Local("", store), "acme/demo-int4").commit == in_place.commit, "loading leaves the release as it was"


def test_openvino_loads_by_name_and_the_card_is_right(store: Path, tmp_path: Path) -> None:
    optimum, genai = blocks(store, "acme/demo-ov-int4")
    pinned = optimum.replace('"acme/demo-ov-int4"', '"acme/demo-ov-int4", revision="v1"')
    by_name, by_version, by_genai = say([optimum, pinned, genai], tmp_path, HF_HOME=str(store), HF_HUB_OFFLINE="1")
    assert by_name.startswith("The function returns") and by_name == by_version
    assert by_genai.strip()
    verify(Local("", store), "acme/demo-ov-int4")


def test_from_the_hub_and_back(subjects: dict[str, Subject], loopback: LoopbackHub, tmp_path: Path) -> None:
    hub, staged = Hub("", tmp_path), stage(subjects["int4"], tmp_path / "stage", tmp_path)
    published = hub.publish(staged)
    pulled = pull(hub, staged.name, "v1", tmp_path / "pulled")
    [code] = re.findall(r"```python\n(.*?)```", (tmp_path / "pulled/README.md").read_text(), re.DOTALL)
    pinned = code.replace(f'"{staged.name}"', f'"{staged.name}", revision="{published.commit}"')
    online = {"HF_ENDPOINT": loopback.url, "HF_TOKEN": loopback.token, "HF_HOME": str(tmp_path / "cache")}
    by_path, by_name, by_commit = say([pulled.snippet, code, pinned], tmp_path, HF_HUB_DISABLE_XET="1", **online)
    assert by_path.startswith("The function returns") and by_path == by_name == by_commit
