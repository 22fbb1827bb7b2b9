from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from markupsafe import escape

from gates.pages.page import Attempt, Reference, render
from gates.spec import Gates
from gates.verdict import judge
from tests.gates.conftest import Bench
from tests.gates.test_verdict import SOUND, documents, evidence, task


def attempts() -> tuple[list[Attempt], Gates]:
    gates = Gates.model_validate({"tasks": {"order": {"min_recovery": 0.5}}})
    scores = {"order": task([1.0, 0.0, 1.0] * 20, [1.0, 1.0, 1.0] * 20)}
    found = [evidence(documents(40, kld=kld), tasks=scores) for kld in (0.2, 0.02)]
    return [Attempt(f"w{n}", e, judge(e, gates)) for n, e in zip((2, 4), found, strict=True)], gates


def test_page_shows_every_gate_check_and_attempt() -> None:
    made, gates = attempts()
    page = render("acme/<model>-int4", made, gates, [Reference("peer recipe", 0.4, 0.01)])
    for gate in made[-1].verdict.gates:
        assert escape(gate.shown.label if gate.shown else gate.name.removeprefix("sanity.")) in page
    assert "acme/&lt;model&gt;-int4" in page and "<model>" not in page
    for words in ("w2", "w4", "peer recipe", made[-1].verdict.sentence[:40], made[0].verdict.sentence[:40]):
        assert words in page
    svgs = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(svgs) == 3
    for svg in svgs:
        ElementTree.fromstring(svg)


def test_page_is_self_contained_and_the_same_every_time() -> None:
    made, gates = attempts()
    page = render("model", made, gates)
    assert page == render("model", made, gates)
    assert not re.search(r'(?:src|href)="(?!#)', page) and "<script" not in page


def test_page_of_an_artifact_that_could_not_be_scored(bench: Bench, tmp_path: Path) -> None:
    found = bench.evidence(tmp_path / "nothing", tmp_path / "out")
    page = render("broken", [Attempt("w4", found, judge(found, Gates()))], Gates())
    assert "is not a directory" in page and "<svg" not in page
    assert len(SOUND) == page.count("<tr><td>") - 3
