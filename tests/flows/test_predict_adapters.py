"""What training an adapter is predicted to take, against what it took; what does not fit is refused before it begins."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import EnvironmentFault
from flows.manifest.errors import ManifestError
from flows.planning.adapter_cost import judging, training
from flows.planning.adapter_jobs import AdapterJob
from flows.planning.machine import refuse_unfit
from flows.planning.plan import Plan, plan, read
from flows.planning.predictions import Predictions
from flows.store import Store
from tests.flows.conftest import room
from tests.flows.test_adapters import manifest_of
from tests.flows.test_predict import ERROR, close, tensors

SHAPES = {"0.34 B": (1024, 256, 2816, 32000, 24), "1.1 B": (2048, 256, 5632, 32000, 22)}
"""Hidden size, width of keys, width of the feed-forward, vocabulary, blocks."""
MEASURED: list[tuple[str, dict[str, Any], float, float]] = [
    ("0.34 B", {"batch": 1, "tokens": 16}, 1.33e9, 14.3),
    ("0.34 B", {"batch": 2, "tokens": 256}, 1.95e9, 27.7),
    ("0.34 B", {"batch": 4, "micro_batch": 4, "tokens": 256}, 1.78e9, 48.5),
    ("0.34 B", {"batch": 4, "micro_batch": 4, "tokens": 256, "compute": "bf16"}, 2.01e9, 34.5),
    ("1.1 B", {"batch": 1, "tokens": 16}, 2.23e9, 21.9),
    ("1.1 B", {"batch": 1, "tokens": 256}, 2.83e9, 42.3),
]
"""Shape, recipe, peak bytes and seconds of the whole process on one core with AVX512-BF16; one step, rank 16, every linear."""


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the figures were measured on."""
    monkeypatch.setattr("flows.planning.adapter_cost.cores", lambda: 1)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return room(tmp_path_factory.mktemp("priced"))


def planned(original: Path, **changes: Any) -> Plan:
    return plan(read([manifest_of(original, "priced.yaml", **changes)]), Store(original.parent / "home"))


def job(original: Path, shape: str, recipe: dict[str, Any]) -> AdapterJob:
    (single,) = planned(original, **{"rank": 16, "target_modules": [], "micro_batch": 1, "steps": 1, **recipe}).adapters
    on = single.job.on
    config = {"hidden_size": SHAPES[shape][0], "vocab_size": SHAPES[shape][3]}
    larger = replace(on.job.original, tensors=tensors(*SHAPES[shape]), config=config)
    return replace(single.job, on=replace(on, job=replace(on.job, original=larger)))


@pytest.mark.parametrize(("shape", "recipe", "peak", "seconds"), MEASURED)
def test_a_training_is_predicted(
    original: Path, shape: str, recipe: dict[str, Any], peak: float, seconds: float
) -> None:
    cost = training(job(original, shape, recipe))
    assert close(cost, peak, seconds), cost


def test_more_rows_take_longer_and_more_processes_more_memory(original: Path) -> None:
    recipe = {"steps": 2, "batch": 4, "tokens": 32}
    asked = job(original, "1.1 B", recipe)
    assert asked.parameters == 16 * 22 * (4 * 2048 + 2 * (2048 + 256) + 3 * (2048 + 5632)), "the head gets no update"
    one = training(asked)
    twice = training(job(original, "1.1 B", {**recipe, "steps": 4}))
    assert twice.memory_bytes == one.memory_bytes and one.seconds < twice.seconds < 2 * one.seconds
    two = training(job(original, "1.1 B", {**recipe, "processes": 2}))
    assert two.memory_bytes == 2 * one.memory_bytes


def test_the_demos_adapter_is_priced_in_the_plan_and_in_its_total(original: Path) -> None:
    todo = planned(original)
    (adapter,) = todo.adapters
    cost, total = Predictions().of_adapter(adapter), Predictions().of_all(todo)
    trained, judged = training(adapter.job), judging(adapter.job)
    assert cost.seconds > trained.seconds + judged.seconds
    assert total.seconds == pytest.approx(Predictions().of_all(Plan(todo.jobs)).seconds + cost.seconds)
    assert 696e6 / ERROR < trained.memory_bytes < ERROR * 696e6, "what it took"


def test_what_does_not_fit_is_refused_before_it_begins(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {"processes": 8, "batch": 8, "micro_batch": 1}
    todo = planned(original, **recipe)
    monkeypatch.setattr("flows.planning.machine.memory_bytes", lambda: 2_000_000_000)
    with pytest.raises(EnvironmentFault, match=r"adapters\.functions: about .* GB of memory are needed"):
        refuse_unfit(todo, original.parent / "home")
    budgeted = manifest_of(original, "budgeted.yaml", **recipe)
    budgeted.write_text(budgeted.read_text() + "memory: 2GB\n")
    with pytest.raises(ManifestError, match=r"memory: is 2000 MB, and training adapter functions takes about \d+ MB"):
        plan(read([budgeted]), Store(original.parent / "home"))
