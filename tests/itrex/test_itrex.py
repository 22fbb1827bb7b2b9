"""The archived stack itself, where it is installed (`make test-itrex`): one run that builds native targets, too."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from catalog.errors import EnvironmentFault
from catalog.interpreters import ENGINES_VARIABLE, environment, is_installed
from catalog.runtime import RuntimeOptions
from flows.store import Store
from gates.clients.client import load
from tests.flows.conftest import ROOT, Ran, room

INSTALLED = is_installed("itrex", Path(os.environ.get(ENGINES_VARIABLE, "engines")))
pytestmark = [
    pytest.mark.skipif(
        not INSTALLED, reason="engine itrex is not installed: make test-itrex installs it and runs this"
    ),
    pytest.mark.timeout(1800),
]

TARGETS = """targets:
  int4: {dtype: int4_clip, group_size: 64}
  nf4: {format: bitsandbytes, dtype: nf4, group_size: 64}
  old-int8: {engine: itrex, format: itrex, dtype: int8, group_size: 64, runtime: {compute: int8}}
  old-int4: {engine: itrex, format: itrex, dtype: int4_clip, group_size: 64, release: true}
  old-nf4: {engine: itrex, format: itrex, dtype: nf4, group_size: 64, release: true}
  old-awq: {engine: itrex, format: itrex, dtype: int4, symmetric: false, group_size: 64, transform: awq, range: mse}
  old-teq: {engine: itrex, format: itrex, dtype: int4, group_size: 64, transform: teq, runtime: {compute: int8}}
"""
RELEASED = ("int4", "nf4", "old-int4", "old-nf4")


@dataclass(frozen=True)
class Milled:
    home: Path
    ran: Ran

    def artifact(self, dtype: str) -> Path:
        for entry in sorted((Store(self.home).home / "store" / "quantize").iterdir()):
            recipe = json.loads((entry / "record.json").read_bytes())["inputs"]["recipe"]
            if (recipe["engine"], recipe["dtype"]) == ("itrex", dtype):
                return entry / "out"
        raise LookupError(dtype)


@pytest.fixture(scope="module")
def milled(tmp_path_factory: pytest.TempPathFactory) -> Milled:
    directory = tmp_path_factory.mktemp("itrex")
    manifest = room(directory)
    text = manifest.read_text()
    begin, end = text.index("targets:"), text.index("gates:")
    text = f"{text[:begin]}{TARGETS}{text[end:]}".replace("samples: 64, tokens: 256", "samples: 2, tokens: 64")
    manifest.write_text(
        text.replace("[evaluation.jsonl], tokens: 256", "[evaluation.jsonl], tokens: 128, documents: 16")
    )
    home = directory / "home"
    command = [sys.executable, "-m", "flows.cli.app", "run", str(manifest), "--json", "--home", str(home)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=settings, timeout=1700)
    return Milled(home, Ran(done.returncode, done.stdout, done.stderr))


def test_all_are_built_and_gated_in_a_run_that_builds_native_targets_too(milled: Milled) -> None:
    assert milled.ran.code == 0, milled.ran.stdout + milled.ran.stderr
    rows = {row["target"]: row for row in milled.ran.json}
    assert {name: row["state"] for name, row in rows.items()} == {
        name: "released" if name in RELEASED else "passed" for name in rows
    }
    assert len(rows) == 7 and all(row["gates"]["divergence"]["value"] < 0.05 for row in rows.values())
    made = [
        json.loads(path.read_bytes())["inputs"]["recipe"] for path in milled.home.glob("store/quantize/*/record.json")
    ]
    assert sorted((recipe["engine"], recipe["dtype"], recipe["transform"] or "rtn") for recipe in made) == [
        ("itrex", "int4", "awq"),
        ("itrex", "int4", "teq"),
        ("itrex", "int4_clip", "rtn"),
        ("itrex", "int8", "rtn"),
        ("itrex", "nf4", "rtn"),
        ("streaming", "int4_clip", "rtn"),
        ("streaming", "nf4", "rtn"),
    ]


def test_the_card_names_the_equal_and_the_difference_and_no_pickle_leaves(milled: Milled) -> None:
    hub = milled.home / "hub"
    assert not list(hub.glob("models--*old-int8*"))
    integers, codebook = (
        next((hub / f"models--demo--docstring-llama-{target}" / "snapshots").iterdir())
        for target in ("old-int4", "old-nf4")
    )
    card, other = ((snapshot / "README.md").read_text() for snapshot in (integers, codebook))
    assert "the recipe `w4-clip-rtn-g64`" in card and "As target `int4`" in card and "difference" in card
    bound = "for the instruction set of the CPU that\n  made it: "
    assert f"{bound}{torch.backends.cpu.get_cpu_capability()}" in other and bound not in card
    assert {path.suffix for snapshot in (integers, codebook) for path in snapshot.iterdir()} <= {
        ".safetensors",
        ".json",
        ".md",
    }


def test_a_product_of_too_few_threads_is_the_machines_fault(milled: Milled, monkeypatch: pytest.MonkeyPatch) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: torch cannot have fewer threads")
    one = "gates.clients.intel_extension_for_transformers_transformers.environment"
    monkeypatch.setattr(one, lambda scratch: {**environment(scratch), "MKL_NUM_THREADS": "1"})
    with pytest.raises(EnvironmentFault, match="fewer threads than the machine has cores"):
        load(milled.artifact("int8"), "itrex", RuntimeOptions(), "text-generation")


def test_what_it_computes_is_what_it_unpacks(milled: Milled) -> None:
    loaded = load(milled.artifact("int4_clip"), "itrex", RuntimeOptions(), "text-generation")
    assert loaded.faults == [] and loaded.context == 1024
    ids = torch.arange(2, 34)
    assert torch.equal(loaded.logits(ids), loaded.logits(ids))
    weights = dict(loaded.weights())
    levels = {len(torch.unique(w[0, :64])) for name, w in weights.items() if "layers" in name}
    assert len(weights) == 29 and max(levels) <= 15
