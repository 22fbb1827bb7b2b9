"""The demo's artifacts are made again, to the byte."""

import json

import pytest

from flows.files import fingerprint
from tests.flows.conftest import Demo, quantmill

pytestmark = pytest.mark.xdist_group("demo")


@pytest.mark.parametrize("target", ["int4-awq"])
def test_a_release_can_be_made_again_to_the_last_byte(demo: Demo, target: str) -> None:
    records = {path.parent: json.loads(path.read_bytes()) for path in demo.home.glob("store/quantize/*/record.json")}
    recipe = {"transform": "awq", "format": "compressed-tensors"}
    ((made, record),) = ((p, r) for p, r in records.items() if recipe.items() <= r["inputs"]["recipe"].items())
    request = json.loads((made / "request.json").read_bytes())
    chosen = record["inputs"]["calibration"]["compute"]
    assert record["result"]["compute"].startswith(f"{chosen}, ") and request["calibration"]["compute"] == chosen
    # As though it came from a machine that chooses another dtype, and has another number of cores: the record has the last word.
    request["calibration"]["compute"] = {"float32": "bfloat16", "bfloat16": "float32"}[chosen]
    (made / "request.json").write_text(json.dumps(request))
    again = quantmill("rebuild", f"demo/docstring-llama-{target}", "--json", home=demo.home, OMP_NUM_THREADS="3")
    assert again.code == 0, again.stdout + again.stderr
    assert again.json["differing"] == []
    assert again.json["files"] > 4


def test_a_model_that_was_changed_is_not_rebuilt_from(demo: Demo) -> None:
    config = demo.manifest.parent / "model" / "config.json"
    before = config.read_text()
    try:
        config.write_text(before.replace("1e-06", "1e-05"))
        refused = quantmill("rebuild", "demo/docstring-llama-int4", home=demo.home)
    finally:
        config.write_text(before)
    assert refused.code == 2
    assert "no longer the one that was read" in refused.stderr


def test_repair_makes_an_artifact_again_whose_files_are_lost(demo: Demo) -> None:
    """Its weights are gone from the hub and from the store: what is left is the record of how it was made."""
    name = "demo/docstring-llama-nf4"
    records = {path.parent: json.loads(path.read_bytes()) for path in demo.home.glob("store/quantize/*/record.json")}
    ((made, record),) = ((p, r) for p, r in records.items() if r["inputs"]["recipe"]["dtype"] == "nf4")
    weights = made / "out" / "model.safetensors"
    sha256 = record["files"]["model.safetensors"]["sha256"]
    blobs = list(demo.home.glob(f"hub/models--*/blobs/{sha256}"))
    for path in (weights, *blobs):
        path.unlink()
    assert blobs and "model.safetensors" in quantmill("verify", name, home=demo.home).stderr
    repaired = quantmill("repair", name, "--json", home=demo.home)
    assert repaired.code == 0, repaired.stdout + repaired.stderr
    assert [fingerprint.file_sha256(path) for path in blobs] == [sha256] * len(blobs)
    assert quantmill("verify", name, home=demo.home).code == 0
    # The plan makes the entry of the store anew when it is needed, which it is not.
    assert "Nothing to do" in quantmill("run", demo.manifest, home=demo.home).stdout
