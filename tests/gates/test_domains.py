"""The worst domain: what a mean over all documents hides in one kind of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flows.files.fingerprint import ContentHashes
from flows.manifest.errors import ManifestError
from flows.manifest.load import load_all
from flows.planning.sources import Sources
from flows.store import Store
from gates import entrypoint
from gates.evidence import Document
from gates.judging.verdict import judge
from gates.request import BaselineRequest, Evaluation
from gates.results import GateVerdict
from gates.spec import Gates
from tests.flows.conftest import room
from tests.gates.conftest import TOKENS, Bench
from tests.gates.test_verdict import OFF, documents, evidence

TOLERANCE = {"divergence": {"max_kld": 0.05, "every_domain": True}}


def mixed(**levels: float) -> tuple[Document, ...]:
    """Forty documents a domain, of that divergence, the domains in turn."""
    parts = {name: documents(40, kld=level, seed=seed) for seed, (name, level) in enumerate(levels.items())}
    return tuple(
        parts[name][index].model_copy(update={"domain": name, "index": number})
        for number, (index, name) in enumerate((index, name) for index in range(40) for name in levels)
    )


def rows(measured: tuple[Document, ...], gates: object = TOLERANCE) -> dict[str, GateVerdict]:
    verdict = judge(evidence(measured), Gates.model_validate(OFF | dict(gates)))  # type: ignore[call-overload]
    return {row.name: row for row in verdict.gates if not row.name.startswith("sanity.")}


def test_a_domain_beyond_the_limit_fails_although_the_mean_is_within() -> None:
    told = rows(mixed(code=0.1, prose=0.01, mail=0.01, law=0.01))
    assert told["divergence"].outcome == "passed"
    worst = told["divergence.domain"]
    assert worst.outcome == "failed" and worst.value == pytest.approx(0.1)
    assert "in code, the worst of 4 domains, KL divergence 0.1 nats" in worst.sentence and worst.scored == 40
    assert worst.shown and worst.shown.column is None and "in code" in worst.shown.label


def test_every_domain_within_the_limit_passes() -> None:
    told = rows(mixed(code=0.02, prose=0.01))
    assert [row.outcome for row in told.values()] == ["passed", "passed"]


def test_a_gate_of_several_limits_names_the_worst_of_each() -> None:
    measured = tuple(
        document.model_copy(
            update={"domain": ("code", "prose")[index % 2], "tops": {"largest_kld": (3.0 - index % 2, *[0.1] * 15)}}
        )
        for index, document in enumerate(documents(80, kld=0.01))
    )
    told = rows(measured, {"tail": {"max_token": 2.5, "max_flips": "10%", "every_domain": True}})
    assert told["tail.token.domain"].outcome == "failed" and "in code" in told["tail.token.domain"].sentence
    assert told["tail.flips.domain"].outcome == "passed"


def test_documents_without_domains_are_no_proof() -> None:
    told = rows(documents(40, kld=0.01))
    assert told["divergence"].outcome == "passed" and told["divergence.domain"].outcome == "failed"
    assert "no document says its domain" in told["divergence.domain"].sentence


def test_what_is_at_its_limit_in_one_domain_passes_no_more_often_than_stated() -> None:
    rng, passed = np.random.default_rng(0), 0
    for _ in range(300):
        levels = np.where(np.arange(60) % 3 == 0, 0.05, 0.005) * rng.lognormal(-0.045, 0.3, 60)
        measured = tuple(
            document.model_copy(update={"domain": str(index % 3), "sums": {**document.sums, "kld": 100 * level}})
            for index, (document, level) in enumerate(zip(documents(60), levels, strict=True))
        )
        passed += rows(measured)["divergence.domain"].outcome == "passed"
    assert passed <= 21


def test_rows_say_their_domain_and_it_comes_with_the_evidence(bench: Bench, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in bench.evaluation.read_text().splitlines()]
    told = [{**line, "domain": ("prose", "Ödland")[number % 2]} for number, line in enumerate(lines)]
    del told[3]["domain"]
    path, baseline = tmp_path / "evaluation.jsonl", tmp_path / "baseline"
    path.write_text("".join(json.dumps(line) + "\n" for line in told))
    baseline.mkdir()
    entrypoint.run(BaselineRequest(model=bench.model, evaluation=Evaluation(documents=path, tokens=TOKENS)), baseline)
    evaluation = Evaluation(documents=path, tokens=TOKENS)
    evidence = bench.evidence(bench.artifact, tmp_path / "out", baseline=baseline, evaluation=evaluation)
    assert [document.domain for document in evidence.documents] == [line.get("domain") for line in told]
    verdict = judge(evidence, Gates.model_validate(TOLERANCE))
    (worst,) = (row for row in verdict.gates if row.name == "divergence.domain")
    assert "the worst of 3 domains" in worst.sentence


@pytest.mark.parametrize("columns", ["", ", columns: {domain: kind}"])
def test_a_manifest_names_the_key_that_holds_the_domain(columns: str, tmp_path: Path) -> None:
    path = room(tmp_path)
    text = path.read_text().replace("tokens: 256}\n\ntargets", f"tokens: 256{columns}}}\n\ntargets")
    path.write_text(text.replace("{max_kld: 0.05}", "{max_kld: 0.05, every_domain: true}"))
    rows = [{"text": json.loads(line)["text"], "kind": "prose"} for line in (path.parent / "evaluation.jsonl").open()]
    (path.parent / "evaluation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if columns:
        (manifest,) = load_all([path])
        assert manifest.columns == {"text": "text", "domain": "kind"}
        sources = Sources(Store(tmp_path / "home"), ContentHashes(tmp_path / "hashes.json"))
        assert sources.rows(manifest)["columns"] == manifest.columns
    else:
        with pytest.raises(ManifestError, match=r"every_domain: needs rows that say their domain: name its key"):
            load_all([path])
