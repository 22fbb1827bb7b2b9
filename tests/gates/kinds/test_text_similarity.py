"""Gate `text_similarity`: the published definition of who-what-benchmark, and what eight or forty texts can prove."""

from __future__ import annotations

from importlib.util import find_spec

from gates.evidence import Document
from gates.judging.verdict import judge
from gates.kinds.text_similarity import similarity
from gates.spec import Gates
from tests.gates.test_verdict import OFF, documents, evidence

PACKAGE = find_spec("all_minilm_l6_v2")


def text(index: int, cosine: float) -> Document:
    return Document(index=index, tokens=1, sums={"similarity": cosine, "same": float(cosine == 1)})


def test_texts_that_are_all_the_same_prove_no_more_than_their_number() -> None:
    few, many = (similarity([text(n, 1.0) for n in range(count)], 0.95) for count in (8, 48))
    assert few and many and few.value == many.value == 1 and few.low and many.low and few.low < 0.7 < 0.9 < many.low
    assert similarity([], 0.95) is None


def test_the_mean_is_judged_and_what_was_not_measured_fails() -> None:
    gates = Gates.model_validate(OFF | {"text_similarity": {"model": "./encoder", "min_similarity": 0.9}})
    for cosines, expected in (((1.0, 0.98) * 24, "passed"), ((1.0, 0.5) * 24, "failed"), ((), "failed")):
        measured = {"text_similarity": tuple(text(n, cosine) for n, cosine in enumerate(cosines))}
        rows = judge(evidence(documents(40), measured=measured), gates).gates
        assert next(row.outcome for row in rows if row.name == "text_similarity") == expected
