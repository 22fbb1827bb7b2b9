"""What is known of the archived stack before any work, and how what it makes stands: none of it needs to be installed."""

import json
from pathlib import Path

import pytest

from catalog.interpreters import ENGINES_VARIABLE
from flows.cli.app import main
from flows.execution import requests
from flows.execution.equals import maintained
from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from flows.planning.jobs import Job
from flows.planning.plan import plan, plan_job, read
from flows.store import Store
from quantizers.formats import limits
from quantizers.formats.limits import Facts
from quantizers.recipe import Recipe
from tests.flows.conftest import room
from tests.flows.results import milled

TARGET = "engine: itrex, format: itrex, group_size: 64"


def manifest_of(directory: Path, target: str) -> Path:
    path = directory / "demo" / "demo.yaml"
    if not path.is_file():
        room(directory)
    text = path.read_text()
    begin, end = text.index("targets:"), text.index("gates:")
    path.write_text(f"{text[:begin]}targets:\n  t: {target}\n{text[end:]}")
    return path


def job_of(directory: Path, target: str, store: Store) -> Job:
    (planned,) = plan(read([manifest_of(directory, target)]), store).jobs
    return planned.job


REFUSED = {
    "nf4 in int8": (
        "dtype: nf4, runtime: {compute: int8}",
        "does not multiply in with weights in nf4; allowed: auto, bf16",
    ),
    "int8 with zero points in int8": (
        "dtype: int8, symmetric: false, runtime: {compute: int8}",
        "does not multiply in with weights in int8 with zero points",
    ),
    "fp4_e2m1": ("dtype: fp4_e2m1", "'fp4_e2m1'"),
    "fp4 of bitsandbytes": (
        "dtype: fp4_bnb",
        "cannot hold dtype fp4_bnb; it holds int4, int4_clip, int4_fullrange, int8, nf4",
    ),
    "a head": ("dtype: int4, skip: []", 'skip [] is not for engine itrex; allowed there: ["lm_head"]'),
    "nf4 after AWQ": ("dtype: nf4, transform: awq, range: mse", "rounded to nearest and nothing else"),
    "a word for release": ("dtype: int4, release: later", "release: is text; allowed: true or false"),
}


@pytest.mark.parametrize(("said", "words"), REFUSED.values(), ids=REFUSED)
def test_what_its_kernels_or_its_loader_refuse_is_refused_by_the_manifest(
    said: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError) as caught:
        load(manifest_of(tmp_path, f"{{{TARGET}, {said}}}"))
    assert words in str(caught.value)


FLAGS = frozenset({"avx2", "avx512f", "avx512_vnni", "avx512_bf16"})


@pytest.mark.parametrize(("dtype", "compute"), [("nf4", "bf16"), ("int4", "int8"), ("int8", "int8")])
def test_auto_is_among_those_that_its_weights_have(
    dtype: str, compute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("flows.planning.runtime", "quantizers.hardware.compute_dtype"):
        monkeypatch.setattr(f"{module}.cpu_flags", lambda: FLAGS)
    job = job_of(tmp_path, f"{{{TARGET}, dtype: {dtype}, runtime: {{compute: auto}}}}", Store(tmp_path / "home"))
    assert job.runtime(job.target.rungs[0]).compute == compute


@pytest.mark.parametrize("said", ["", ", runtime: {compute: bf16}"], ids=["missing", "bfloat16 without AMX"])
def test_what_the_machine_lacks_is_its_fault_and_told_with_the_remedy(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(ENGINES_VARIABLE, raising=False)
    monkeypatch.setattr("flows.planning.machine.cpu_flags", lambda: FLAGS)
    if said:
        monkeypatch.setattr("flows.planning.machine.is_installed", lambda name, engines: True)
    path = manifest_of(tmp_path, f"{{{TARGET}, dtype: int4{said}}}")
    assert main(["plan", str(path), "--home", str(tmp_path / "home"), "--json"]) == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert ("AMX" if said else "quantmill engine install itrex") in error and "targets.t" in error


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "qwen3"}, "holds model types llama, mistral, qwen2"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}}, "rope_type is 'llama3'"),
        ({"head_dim": 64}, "head_dim is 64"),
        ({}, None),
    ],
    ids=["architecture", "positions", "heads", "none"],
)
def test_a_model_that_its_transformers_computes_in_another_way_is_refused(
    changes: dict[str, object], words: str | None
) -> None:
    config = {"model_type": "llama", "hidden_size": 256, "num_attention_heads": 8, "head_dim": 32, **changes}
    told = limits.refusal("itrex", Facts(None, config, {}, {}, "text-generation", streams=False))
    assert told is None if words is None else words in str(told)


def test_what_passes_is_released_only_where_the_manifest_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    job = job_of(tmp_path, f"{{{TARGET}, dtype: int4}}", store)
    assert plan_job(job, store).steps[-1] == "gate"
    milled(job_of(tmp_path, f"{{{TARGET}, dtype: int4, release: true}}", store), store)
    planned = plan_job(job_of(tmp_path, f"{{{TARGET}, dtype: int4}}", store), store)
    assert (planned.state, planned.steps) == ("passed", ()) and "release: true" in planned.why
    assert plan_job(job_of(tmp_path, f"{{{TARGET}, dtype: int4, release: true}}", store), store).state == "released"
    native = job_of(tmp_path, "{dtype: int4, group_size: 64, release: false}", store)
    assert not native.target.release and plan_job(native, store).steps[-1] == "gate"


@pytest.mark.parametrize(("dtype", "instructions"), [("nf4", "AVX2"), ("int4", None)])
def test_the_release_of_bytes_for_one_kind_of_cpu_is_told_which(
    dtype: str, instructions: str | None, tmp_path: Path
) -> None:
    store = Store(tmp_path / "home")
    job = job_of(tmp_path, f"{{{TARGET}, dtype: {dtype}, release: true}}", store)
    milled(job, store)
    rung = job.target.rungs[0]
    made, verdict = store.record(job.quantize(rung)), store.record(job.verdict(rung))
    assert made and verdict
    assert requests.publish(job, rung, made, verdict, store).subject.instructions == instructions


EQUALS = {
    "int8": ({"dtype": "int8"}, "compressed-tensors"),
    "nf4": ({"dtype": "nf4"}, "bitsandbytes"),
    "awq": ({"dtype": "int4", "symmetric": False, "transform": "awq", "range": "mse"}, "compressed-tensors"),
    "nf4 per channel": ({"dtype": "nf4", "group_size": -1}, None),
}


@pytest.mark.parametrize(("fields", "format_"), EQUALS.values(), ids=EQUALS)
def test_the_equal_that_is_kept_up_stores_the_same(fields: dict[str, object], format_: str | None) -> None:
    recipe = Recipe.model_validate({"engine": "itrex", "format": "itrex", "group_size": 64, **fields})
    found = maintained(recipe)
    if format_ is None:
        assert found is None
        return
    assert found is not None and (found.engine, found.format) == ("streaming", format_)
    assert found.model_copy(update={"engine": "itrex", "format": "itrex"}) == recipe
    assert maintained(found) is None
