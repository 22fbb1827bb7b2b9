import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "catalog": {"flows", "quantizers", "gates", "publishers", "prefect", "torch", "transformers", "tests", "bench"},
    "flows": {"torch", "transformers", "nncf", "optimum", "tests", "bench"},
    "quantizers": {"flows", "gates", "publishers", "prefect", "tests", "bench"},
    "gates": {"flows", "quantizers", "publishers", "prefect", "tests", "bench"},
    "publishers": {"flows", "quantizers", "gates", "prefect", "torch", "tests", "bench"},
}
LIGHT = [
    "catalog.errors",
    "quantizers.recipe",
    "quantizers.request",
    "gates.spec",
    "gates.verdict",
    "gates.statistics.sequential",
    "gates.contamination",
    "publishers.request",
    "publishers.destinations.local",
    "flows.planning.plan",
    "flows.cli.app",
    "flows.cli.tables",
]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_package_imports_what_is_not_its_business(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = [(str(path), name) for path in files for name in imported(path) if name in FORBIDDEN[package]]
    assert wrong == []


@pytest.mark.parametrize("module", LIGHT)
def test_planning_and_listing_import_neither_torch_nor_prefect(module: str) -> None:
    program = f"import sys, {module}; print([m for m in ('torch', 'prefect', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_every_door_is_a_program_that_needs_a_request() -> None:
    for package in ("quantizers", "gates", "publishers"):
        assert (ROOT / package / "__main__.py").is_file()
