"""Nightly, once for real: a Prefect server, a deployment with its schedule, a process worker, a trigger, a release."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.nightly import manifests_below
from tests.flows.conftest import ROOT, quantmill, room

pytestmark = pytest.mark.xdist_group("nights")


def test_every_manifest_below_a_directory_is_found_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.yaml", "targets.yaml", "models/b.yaml", "models/.hidden/c.yaml", "schema.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("model: {source: x}")
    (tmp_path / "task.yaml").write_text("task: order")
    assert [path.name for path in manifests_below(tmp_path)] == ["a.yaml", "b.yaml"]


@pytest.mark.slow
def test_from_trigger_to_release(prefect: str, tmp_path: Path) -> None:
    manifest, home = room(tmp_path / "manifests"), tmp_path / "home"
    text = manifest.read_text()
    manifest.write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith(("  int4", "  nf4", "  ov-")))
    )
    broken = manifest.with_name("broken.yaml")
    broken.write_text("model: {source: ./nothing-here}\ntargets: {int8: w8-rtn}\n")

    deployed = quantmill("deploy", manifest.parent, "--cron", "30 3 * * *", "--pool", "mill", home=home)
    assert deployed.code == 0, deployed.stderr
    assert "nightly/nightly" in deployed.stdout
    assert quantmill("deploy", manifest.parent, "--cron", "30 3 * * *", "--pool", "mill", home=home).code == 0  # again

    environment = {**os.environ, "PREFECT_API_URL": prefect, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
    prefect_cli = [sys.executable, "-m", "prefect"]
    shown = subprocess.run(
        [*prefect_cli, "deployment", "inspect", "nightly/nightly"], env=environment, capture_output=True, text=True
    )
    assert "30 3 * * *" in shown.stdout
    subprocess.run(
        [*prefect_cli, "deployment", "run", "nightly/nightly"], env=environment, check=True, capture_output=True
    )
    worker = subprocess.run(
        [*prefect_cli, "worker", "start", "--pool", "mill", "--limit", "1", "--run-once", "--install-policy", "never"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    states = _wait_for_the_end(environment)
    listed = quantmill("list", "--json", home=home).json
    assert [row["release"] for row in listed] == ["demo/docstring-llama-int8"], worker.stdout + worker.stderr
    # The broken manifest made the run fail, visibly, and kept nothing from its release.
    assert states == {"FAILED"}
    assert "nothing-here" in worker.stdout + worker.stderr


def _wait_for_the_end(environment: dict[str, str]) -> set[str]:
    import json
    import urllib.request

    body = json.dumps({"deployments": {"name": {"any_": ["nightly"]}}, "sort": "START_TIME_DESC"}).encode()
    for _ in range(100):
        request = urllib.request.Request(
            f"{environment['PREFECT_API_URL']}/flow_runs/filter", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            runs = json.load(answer)
        started = {run["state_type"] for run in runs if run["start_time"]}
        if started and not started & {"RUNNING", "PENDING"}:
            return started
        time.sleep(1)
    raise AssertionError(f"the run did not end: {runs}")
