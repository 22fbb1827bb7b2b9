import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIGHT = [
    "catalog.errors",
    "catalog.libraries",
    "adapters.recipe",
    "adapters.request",
    "quantizers.recipe",
    "quantizers.request",
    "gates.spec",
    "gates.judging.verdict",
    "gates.statistics.sequential",
    "gates.safeguards.contamination",
    "publishers.request",
    "publishers.destinations.local",
    "flows.planning.plan",
    "flows.cli.app",
    "flows.cli.commands.run",
    "flows.reports.outcomes",
]


def test_the_walls_between_packages_stand() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", LIGHT)
def test_planning_and_listing_import_neither_torch_nor_prefect(module: str) -> None:
    program = f"import sys, {module}; print([m for m in ('torch', 'prefect', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_every_entry_point_is_a_program() -> None:
    for package in ("quantizers", "adapters", "gates", "publishers"):
        assert (ROOT / package / "__main__.py").is_file()
