"""The table of gates: what every row must bring along."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from catalog.tasks import TASKS
from gates.judging.gate import Gate
from gates.judging.verdict import judge
from gates.results import NOTHING
from gates.spec import KINDS, Gates, harm_gate, kept
from gates.tasks import measured
from tests.gates.test_verdict import documents, evidence, task

ASKED: dict[str, Any] = {"agreement": {}, "tasks": {"arc_easy": {}, "order": {}}, "speed": {}}


def test_every_field_but_confidence_is_a_kind_of_gate() -> None:
    assert list(KINDS) == [name for name in Gates.model_fields if name != "confidence"]
    assert all(issubclass(kind, Gate) for kind in KINDS.values())


@pytest.mark.parametrize("task", TASKS)
def test_a_task_names_gates_and_measures_that_there_are(task: str) -> None:
    row = TASKS[task]
    kinds = [KINDS[name] for name in row.gates]
    assert set(row.defaults) <= set(row.gates) and harm_gate(task) in row.defaults
    assert len(kept(task)) == len(set(kept(task))), "two kinds keep something under one name"
    assert set(row.measures) <= {name for kind in kinds for name in kind.measures}
    assert set(row.numbers) <= {name for kind in kinds for name in kind.numbers}
    assert {each.name for each in row.quantities} <= {*row.measures, *row.numbers}
    assert measured(task).name == task


def test_gates_are_told_in_the_order_of_the_table() -> None:
    names = [name for name, _ in Gates.model_validate(ASKED).asked()]
    assert names == ["divergence", "perplexity", "agreement", "tasks.arc_easy", "tasks.order", "size", "speed"]


def test_every_gate_says_how_it_reads() -> None:
    """Cards, pages and tables print what a verdict holds, and know no gate by name."""
    scores = {"arc_easy": task([1.0, 0.0] * 30, [1.0, 0.0] * 30)}
    rows = documents(40, kld=0.01)
    verdict = judge(evidence(rows, chat=rows, tasks=scores), Gates.model_validate(ASKED))
    shown = {row.name: row.shown for row in verdict.gates if not row.name.startswith("sanity.")}
    assert all(shown.values())
    assert len({words.label for words in shown.values() if words}) == len(shown)
    divergence, chat, unmeasured = shown["divergence"], shown["chat.divergence"], shown["tasks.order"]
    assert divergence and chat and unmeasured
    assert (divergence.measured, divergence.allowed, divergence.column) == ("0.01000", "≤ 0.05000", "KLD ≤")
    assert (chat.label, chat.column) == (f"{divergence.label}, through the chat template", None)
    assert (unmeasured.measured, unmeasured.bound, unmeasured.cell) == (NOTHING, NOTHING, NOTHING)


def test_what_the_documents_cannot_bound_is_said() -> None:
    (divergence,) = (row for row in judge(evidence(documents(3, kld=0.01)), Gates()).gates if row.name == "divergence")
    assert divergence.outcome == "undecided" and divergence.shown
    assert (divergence.shown.bound, divergence.shown.cell) == ("unbounded", NOTHING)


def test_a_gate_refuses_what_it_does_not_know() -> None:
    refused: list[dict[str, Any]] = [{"divergence": {"max_kld": 0}}, {"agreement": {"min_top": 0.9}}, {"tails": {}}]
    for wrong in refused:
        with pytest.raises(ValidationError):
            Gates.model_validate(wrong)


def test_reading_the_table_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, gates.spec; print([name for name in ('torch', 'numpy', 'scipy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
