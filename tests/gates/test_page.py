from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markupsafe import escape

from catalog.sizes import in_words
from gates.evidence import Sizes
from gates.judging.verdict import judge
from gates.pages.page import Attempt, Reference, render
from gates.spec import Gates
from tests.gates.conftest import Bench
from tests.gates.test_verdict import SOUND, documents, evidence, task


def attempts() -> tuple[list[Attempt], Gates]:
    gates = Gates.model_validate({"tasks": {"order": {"min_recovery": 0.5}}})
    scores = {"order": task([1.0, 0.0, 1.0] * 20, [1.0, 1.0, 1.0] * 20)}
    evidences = [evidence(documents(40, kld=kld), tasks=scores) for kld in (0.2, 0.02)]
    return [Attempt(f"w{n}", e, judge(e, gates)) for n, e in zip((2, 4), evidences, strict=True)], gates


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
    unscored = bench.evidence(tmp_path / "nothing", tmp_path / "out")
    page = render("broken", [Attempt("w4", unscored, judge(unscored, Gates()))], Gates())
    assert "is not a directory" in page and "<svg" not in page
    checks = page[page.index("Checks that no threshold overrides") :]
    assert checks.count("<tr><td") == len(SOUND)


def test_plots_take_their_colours_from_the_page_which_knows_light_and_dark() -> None:
    made, gates = attempts()
    page = render("model", made, gates, [Reference("peer recipe", 0.4, 0.01)])
    assert "@media (prefers-color-scheme: dark)" in page
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    variables = set(re.findall(r"var\(--(\w+)", drawn))
    assert variables == {"ink", "muted", "passed", "failed", "peer"}
    assert not re.findall(r"#(?:[0-9a-f]{6})", re.sub(r"var\(--\w+, #[0-9a-f]{6}\)", "", drawn))
    light, dark = re.findall(r":root \{(.*?)\}", page, re.S)
    assert all(f"--{name}:" in light and f"--{name}:" in dark for name in variables)


def test_a_row_says_what_its_cells_are_where_there_is_no_room_for_a_head() -> None:
    made, gates = attempts()
    page = render("model", made, gates)
    assert "@media (max-width: 40rem)" in page
    for table in re.findall(r"<table>.*?</table>", page, re.S):
        heads = [head for head in re.findall(r"<th[^>]*>(.*?)</th>", table) if head]
        named = set(re.findall(r'data-of="(.*?)"', table))
        assert named <= set(heads) and len(named) >= len(heads) - 2


def test_sizes_are_in_megabytes_and_the_date_is_told() -> None:
    made, gates = attempts()
    size = Sizes(original_bytes=7_350_000, artifact_bytes=2_840_000, expected_bytes=2_840_000, ratio=0.386)
    sized = replace(made[-1], evidence=made[-1].evidence.model_copy(update={"size": size}))
    page = render("model", [sized], gates, judged=datetime(2026, 11, 25, 19, 40, tzinfo=UTC))
    assert "2.84 MB of weights, the original&#39;s are 7.35 MB" in page.replace("original's", "original&#39;s")
    assert "Judged 2026-11-25 19:40 UTC" in page


@pytest.mark.parametrize(
    ("size", "words"), [(999, "1.0 kB"), (927_717, "927.7 kB"), (4_258_600, "4.26 MB"), (2_200_000_000, "2.20 GB")]
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words
