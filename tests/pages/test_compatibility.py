"""docs/compatibility.md says what comes of each format in each client, in three words and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pages.compatibility import PAGE, page, rows


def written() -> list[tuple[str, ...]]:
    tried = PAGE.read_text().split("## ")[0]
    lines = [line for line in tried.splitlines() if line.startswith("| ")][1:]
    return [tuple(re.split(r" \| ", line.strip("| "))) for line in lines]


def test_the_page_says_works_refused_or_not_testable_and_nothing_else() -> None:
    table = written()
    assert len(table) > 20
    assert all(re.fullmatch(r"works|refused: .+|not testable here: .+", row[-1]) for row in table)
    assert page([tuple(row) for row in table]) == PAGE.read_text()  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.xdist_group("load")
def test_what_can_be_tried_here_comes_out_as_the_page_says(released: Path, tmp_path: Path) -> None:
    said = {row[:4]: row[4] for row in written()}
    tried = [row for row in rows(released, tmp_path) if not row[4].startswith("not testable")]
    assert {row[:4] for row in tried if row[4] == "works"} >= {row for row, came in said.items() if came == "works"}
    for *cell, came in tried:
        before = said.get(tuple(cell))
        if before is not None and not before.startswith("not testable"):
            assert came == before, cell
