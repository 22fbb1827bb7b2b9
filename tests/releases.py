"""The demo model in each format, released in a local hub, and programs that run outside of the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from publishers.destinations.local import Local
from publishers.request import Subject
from publishers.stage import stage
from tests.publishers.conftest import RECIPE, hashes, subject_of

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "manifests/demo/model"
TARGETS: dict[str, dict[str, Any]] = {
    "int4": {"dtype": "int4", "group_size": 64},
    "nf4": {"dtype": "nf4", "group_size": 64, "format": "bitsandbytes"},
    "ov-int4": {"dtype": "int4", "group_size": 64, "format": "openvino", "engine": "nncf"},
    "gguf": {"dtype": "int4", "group_size": 32, "format": "gguf"},
    "ov-int8": {"dtype": "int8", "group_size": -1, "format": "openvino"},
}
# Runs each program of a JSON list in one process that imports nothing of ours; prints a JSON list of what they print.
RUNNER = """
import contextlib, io, json, sys
said = []
for program in json.load(open(sys.argv[1])):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(program, "snippet", "exec"), {"__name__": "__main__"})
    said.append(out.getvalue())
ours = ("publishers", "quantizers", "adapters", "gates", "flows")
print(json.dumps([said, sorted(m for m in sys.modules if m.split(".")[0] in ours)]))
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


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """The demo model, really quantized into every format, by the quantizers' door."""
    return quantized(tmp_path_factory.mktemp("quantized"))


@pytest.fixture(scope="session")
def released(subjects: dict[str, Subject], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose local hub holds all of them, as acme/demo-TARGET."""
    return published(subjects, tmp_path_factory.mktemp("released"))


def quantized(scratch: Path) -> dict[str, Subject]:
    """The demo model in every format."""
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


def published(subjects: dict[str, Subject], scratch: Path) -> Path:
    """The directory of a store whose local hub holds them."""
    for target, subject in subjects.items():
        Local("", scratch / "home").publish(stage(subject, scratch / target, scratch / "home"))
    return scratch / "home"
