"""Whatever the terminal's width, everything is shown and nothing runs over its edge."""

import io
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from flows.cli.card import Card
from flows.cli.commands.diff import difference_rows
from flows.cli.tables import Rows, facts

WIDTHS = [20, 40, 60, 100, 200]


def drawn(part: Any, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(part)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all(len(line) <= width for line in lines)
    return "\n".join(lines)


def letters(text: str) -> str:
    return re.sub(r"\s", "", text)


def holds(shown: str, cell: str) -> bool:
    """Whether a cell is there, whole or broken into lines beside other cells."""
    rest = iter(letters(shown))
    return all(letter in rest for letter in letters(cell))


@pytest.mark.parametrize("width", WIDTHS)
def test_a_narrow_terminal_shows_a_paragraph_for_each_row(width: int) -> None:
    rows = Rows(("target", "~recipe", "state", ">size", "~why"), title="acme/model")
    rows.add("int4-awq", "w4-awq-compensated-asym-g64", Text("stale", "yellow"), "66.6 MB", "never built")
    shown = drawn(rows, width)
    assert "acme/model" in shown
    for cell in ("int4-awq", "w4-awq-compensated-asym-g64", "stale", "66.6MB", "neverbuilt"):
        assert holds(shown, cell), shown
    assert ("recipe" in shown.splitlines()[2]) == (width > 40), shown


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=40)] * 4),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(WIDTHS),
)
def test_no_cell_is_lost(cells: list[tuple[str, ...]], width: int) -> None:
    rows = Rows(("name", "~text", ">number", "~more"))
    for row in cells:
        rows.add(*row)
    shown = drawn(rows, width)
    for row in cells:
        assert all(holds(shown, cell) for cell in row), shown


@pytest.mark.parametrize("width", WIDTHS)
def test_a_difference_shows_both_sides(width: int) -> None:
    rows: list[dict[str, Any]] = [
        {"what": "recipe.transform", "left": None, "right": "awq"},
        {"what": "source.revision", "left": "ab" * 20, "right": "sha256:" + "cd" * 32},
    ]
    shown = drawn(difference_rows(rows), width)
    for cell in ("recipe.transform", "–", "awq", "abababababab…", "sha256:cdcdcdcdcdcd…"):
        assert holds(shown, cell), shown


@pytest.mark.parametrize("width", WIDTHS)
def test_facts_are_shown_by_group(width: int) -> None:
    shown = drawn(facts({"memory": {"total_bytes": 1 << 31}, "versions": {"neural_compressor_pt": "3.10"}}), width)
    for cell in ("memory", "total", "2.15GB", "neural_compressor_pt", "3.10"):
        assert holds(shown, cell), shown


@pytest.mark.parametrize("width", [40, 200])
def test_a_card_is_not_cut_off(width: int) -> None:
    sha = "0123456789abcdef" * 4
    shown = drawn(Card(f"| file | bytes | SHA-256 |\n|---|---|---|\n| model.safetensors | 2762624 | {sha} |\n"), width)
    assert "…" not in shown
    assert holds(shown, sha) and holds(shown, "model.safetensors") and holds(shown, "2762624")
