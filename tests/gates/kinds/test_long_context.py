"""Gate `long_context`: what rows hold, what is kept of them, and how it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gates import entrypoint
from gates.errors import GateError
from gates.evaluation import readers
from gates.evidence import Document
from gates.judging.verdict import judge
from gates.kinds.long_context import LongRows, recalled
from gates.measurements.long_context import VALUES, _packed, _pieces
from gates.request import BaselineRequest, Evaluation
from gates.spec import Gates
from tests.gates.conftest import LONG, Bench, Recalling
from tests.gates.test_hidden_breakages import rope
from tests.gates.test_verdict import OFF, documents, evidence


def test_a_row_asks_at_its_end_for_what_it_says_before(bench: Bench) -> None:
    tokenizer = readers.load(bench.model, "text-generation").tokenizer
    pieces = _pieces(tokenizer, [{"text": "Stones turn, and what was grain is flour. " * 200}])
    row = _packed(pieces, 512, 3, 6)
    ids, places = row["ids"].tolist(), row["places"].tolist()
    assert len(ids) == 512 and len(row["facts"]) == 6 and places == sorted(set(places))
    text, inside = tokenizer.decode(ids), set()
    for start, end in row["facts"].tolist():
        value = tokenizer.decode([ids[place] for place in places[start:end]]).strip()
        asked = tokenizer.decode(ids[: places[start]])
        line = asked[asked.rindex("The code word for") :]
        assert value in VALUES and text.count(f"{line} {value}.") == 2
        inside |= set(places[start:end])
    told = [place for place in places if place not in inside]
    assert len(told) > 200 and "code" not in tokenizer.decode([ids[place] for place in told])
    assert row["ids"].equal(_packed(pieces, 512, 3, 6)["ids"]) and not row["ids"].equal(
        _packed(pieces, 512, 4, 6)["ids"]
    )


@pytest.mark.parametrize(
    ("context", "text", "lengths"),
    [
        (131072, 1e7, (4096, 16384)),
        (8192, 1e7, (4096, 8192)),
        (2048, 1e7, (2048,)),
        (32768, 60000, (4096,)),
        (None, 1e7, (4096, 16384)),
        (32768, 9000, ()),
    ],
)
def test_lengths_end_with_the_model_the_text_and_the_budget(
    context: int | None, text: float, lengths: tuple[int, ...]
) -> None:
    assert LongRows().of(context, text) == lengths


def long_row(index: int, lost: int, facts: int = 24) -> Document:
    sums = {"length": 4096.0, "recalled_original": float(facts), "recalled": float(facts - lost), "lost": float(lost)}
    return Document(index=index, tokens=100, sums=sums)


def test_an_artifact_at_the_limit_passes_at_most_one_time_in_twenty() -> None:
    """Rows fare alike: in each a share of facts is lost that is drawn anew, one in twenty on the mean."""
    rng, passed = np.random.default_rng(0), 0
    for _ in range(400):
        shares = rng.beta(1, 19, 16)
        told = recalled([long_row(n, int(rng.binomial(24, share))) for n, share in enumerate(shares)], 0.95)
        assert told
        passed += told.low is not None and told.low >= 0.95
    assert passed <= 28


def test_what_was_not_measured_fails_and_nothing_lost_is_no_proof() -> None:
    gates = Gates.model_validate(OFF | {"long_context": {}})
    rows = {row.name: row for row in judge(evidence(documents(40)), gates).gates if row.limit is not None}
    assert {row.outcome for row in rows.values()} == {"failed"} and set(rows) == {
        "long_context.recall",
        "long_context.loss",
    }
    told = recalled([long_row(n, 0) for n in range(8)], 0.95)
    assert told and told.value == 1 and told.low and 0.95 < told.low < 0.99
    assert recalled([long_row(0, 0, facts=0)], 0.95) is None


def test_a_text_too_short_and_facts_too_many_are_refused(bench: Bench, tmp_path: Path) -> None:
    asked: list[tuple[dict[str, Any], str]] = [
        ({"lengths": [512], "rows": 400}, "at most"),
        ({"lengths": [128], "rows": 5}, "fewer `facts`"),
    ]
    for number, (settings, said) in enumerate(asked):
        out = tmp_path / str(number)
        out.mkdir()
        evaluation = Evaluation(documents=bench.evaluation, tokens=16, max_documents=2)
        with pytest.raises(GateError, match=said):
            entrypoint.run(
                BaselineRequest(model=bench.model, evaluation=evaluation, measured={"long_context": settings}), out
            )


def test_an_original_that_recalls_nothing_is_refused_only_where_recall_is_judged(bench: Bench, tmp_path: Path) -> None:
    rows = {"lengths": [128], "rows": 5, "facts": 2}
    evaluation = Evaluation(documents=bench.evaluation, tokens=16, max_documents=2)
    for number, asked in enumerate(({}, {"min_recall": None})):
        gate = Gates.model_validate({"long_context": {**rows, **asked}}).measured()["long_context"]
        request = BaselineRequest(
            model=bench.model, evaluation=evaluation, measured={"long_context": gate.configuration()}
        )
        out = tmp_path / str(number)
        out.mkdir()
        if not asked:
            with pytest.raises(GateError, match=r"recalls none of 10 facts .* `min_recall: null`"):
                entrypoint.run(request, out)
            continue
        entrypoint.run(request, out)
        assert len(list((out / "long_context").iterdir())) == 5


@pytest.mark.slow
@pytest.mark.xdist_group("recallers")
def test_facts_are_recalled_until_the_scaling_of_positions_is_lost(
    recalling: Recalling, tmp_path: Path, copied: Any
) -> None:
    gates = Gates.model_validate({"size": None, "long_context": {**LONG, "min_recall": 0.85}})
    sound = recalling.evidence(recalling.model, tmp_path / "sound")
    assert judge(sound, gates).passed, judge(sound, gates).sentence
    long = [row.sums for row in sound.measured["long_context"] if row.sums["length"] == 256]
    assert len(long) == 16 and sum(row["recalled_original"] for row in long) > 0.9 * 4 * 16
    lost = recalling.evidence(copied(rope(rope_type="default")), tmp_path / "lost")
    rows = {row.name: row for row in judge(lost, gates).gates}
    assert (
        rows["long_context.recall"].outcome == "failed" and "rows of 256 tokens" in rows["long_context.recall"].sentence
    )


def test_logits_at_places_are_those_of_the_row(bench: Bench) -> None:
    from gates.clients.client import load_original

    loaded = load_original(bench.model, "text-generation")
    ids, places = torch.arange(5, 85), torch.tensor([0, 7, 40, 79])
    assert torch.allclose(loaded.logits_at(ids, places), loaded.logits(ids)[places], atol=1e-5)
    assert loaded.logits_at(ids, places).shape[0] == 4
