import ast
import builtins
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import FAULTS, EnvironmentFault, Fault, InputError, NetworkFault, StepFault
from flows.cli.commands.run import exit_code
from flows.store import DamagedEntry
from gates.errors import GateError
from publishers.errors import HubError

ROOT = Path(__file__).parents[2]
PACKAGES = ("catalog", "flows", "quantizers", "gates", "publishers")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
BUILTIN = {name for name, it in vars(builtins).items() if isinstance(it, type) and issubclass(it, BaseException)}


def test_every_error_of_ours_is_one_of_the_four_kinds() -> None:
    classes = [
        (str(path), node.name)
        for path in FILES
        if path != ROOT / "catalog" / "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")  # what one file raises and catches itself is no error
        and any(isinstance(base, ast.Name) and base.id in BUILTIN for base in node.bases)
    ]
    assert classes == []


def test_nothing_is_decided_by_where_a_class_lives() -> None:
    assert [str(path) for path in FILES if "__module__" in path.read_text()] == []


@pytest.mark.parametrize(
    ("kind", "code", "retried", "quarantines"),
    [
        (GateError, 2, False, True),
        (StepFault, 3, True, True),
        (DamagedEntry, 4, False, False),
        (HubError, 4, True, False),
    ],
)
def test_how_it_ends_is_the_kinds(kind: type[Fault], code: int, retried: bool, quarantines: bool) -> None:
    error = kind("what, where, what to do")
    assert (error.exit_code, error.retried, error.quarantines) == (code, retried, quarantines)
    assert FAULTS[error.fault].exit_code == code
    assert str(error) == "what, where, what to do"


ROWS: dict[str, dict[str, Any]] = {
    "passed": {"state": "released"},
    "refused": {"state": "failed"},
    "unexplained": {"state": "stale"},
    **{name: {"state": "step failed", "fault": name} for name in FAULTS},
}


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (["passed"], 0),
        (["passed", "refused"], 1),
        (["refused", InputError.fault], 2),
        (["unexplained"], 3),
        ([InputError.fault, EnvironmentFault.fault], 4),
        ([NetworkFault.fault, "passed"], 4),
        ([EnvironmentFault.fault, StepFault.fault], 3),
    ],
)
def test_a_run_ends_with_the_worst_that_happened(rows: list[str], code: int) -> None:
    assert exit_code([ROWS[name] for name in rows]) == code
