"""What steps report, made up: for tests of what the store and the local hub do with it."""

import json
import shutil
from pathlib import Path
from typing import Any

from flows.execution import requests
from flows.execution.steps import note
from flows.planning.jobs import Job
from flows.planning.kinds import Artifact, Documents, Judged
from flows.planning.memory import claim, remember
from flows.planning.plan import plan, read
from flows.store import Store
from gates.results import Baseline, EvidenceResult, Verdict
from publishers import entrypoint
from publishers.request import Result
from quantizers.recipe import Recipe
from tests.flows.conftest import quantmill
from tests.publishers.conftest import EVIDENCE, VERDICT


def artifact(**changes: Any) -> Artifact:
    """The report of one target that was made."""
    made = {"expected_bytes": 1, "weights_bytes": 1, "quantized": 1, "kept": 0, "compute": "float32, AVX2"}
    return Artifact(**{"recipe": Recipe(), "tools": {}, "made_together": 1, "place": "0", **made, **changes})


def judged(passed: bool, evidence: str, content: str) -> Judged:
    """A verdict without gates."""
    outcome = "passed" if passed else "failed"
    verdict = Verdict(passed=passed, outcome=outcome, more=False, sentence="fine", gates=())
    return Judged(**dict(verdict), evidence=evidence, content=content)


def scored(documents: int = 64) -> Baseline:
    """The report of a baseline."""
    figures = {"left_out": 0, "tokens": 1, "row_tokens": 1, "perplexity": 1.0, "vocabulary": 1, "kept": 1}
    return Baseline(documents=documents, weights_bytes=1, tools={}, **figures)


def milled(job: Job, store: Store, weights: str = "weights") -> Result:
    """Do every step of a job but the computing: the files are small, the release in the local hub is a real one."""
    claim(job, store)
    rung = job.target.rungs[0]
    for step in (job.evaluation, job.calibration):
        if step:
            note(store, step, Documents(documents=1, characters=1), {"documents.jsonl": '{"text": "a"}'})
    note(store, job.baseline, scored(), {"scores": "0" * 5000})
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(weights)], "data_offsets": [0, len(weights)]}})
    tensors = (
        f"{chr(len(header))}{7 * chr(0)}{header}{weights}"  # safetensors; that short, its length is one ASCII byte
    )
    files = {"model.safetensors": tensors, "config.json": "{}", "tokenizer.json": json.dumps({"of": weights})}
    made = note(store, job.quantize(rung), artifact(), files)
    evidence = job.evidence(rung, 64, made.content)
    measured = EvidenceResult(documents=64, available=64, failed_checks=(), kld=0.0, perplexity=1.0)
    note(store, evidence, measured, {"evidence.json": json.dumps(EVIDENCE)})
    verdict = Judged(**Verdict.model_validate(VERDICT).model_dump(), evidence=evidence.key, content=made.content)
    judged = note(store, job.verdict(rung), verdict, {"verdict.html": "<p>passed</p>", "verdict.json": "{}"})
    result = release(job, store)
    assert judged.result.passed
    remember(job, store)
    return result


def release(job: Job, store: Store) -> Result:
    """Publish what is in the store."""
    rung = job.target.rungs[0]
    made, judged = store.record(job.quantize(rung)), store.record(job.verdict(rung))
    assert made and judged
    step = job.publish(rung)
    scratch = store.scratch(step.name)
    request = requests.publish(job, rung, made, judged, store)
    (scratch / "request.json").write_text(request.model_dump_json())
    result = entrypoint.run(request, scratch / "out")
    store.seal(step, scratch, result)
    return result


def repository(store: Store, job: Job) -> Path:
    """Where the local hub keeps a release."""
    return store.home / "hub" / f"models--{job.release.replace('/', '--')}"


def copied(store: Store, home: Path) -> Store:
    """Another store with the same in it."""
    shutil.copytree(store.home, home, symlinks=True)
    return Store(home)


def job_of(manifest: Path, home: Path, target: str = "int4") -> Job:
    """The job of one target of a manifest."""
    return next(p.job for p in plan(read([manifest]), Store(home)).jobs if p.job.target.name == target)


def planned(manifest: Path, home: Path) -> dict[str, Any]:
    """The rows of `quantmill plan --json`, by target."""
    ran = quantmill("plan", manifest, "--json", home=home)
    assert ran.code == 0, ran.stderr
    return {row["target"]: row for row in ran.json["jobs"]}
