"""A step that keeps failing is left alone, and one that a machine failed is not."""

from pathlib import Path

from catalog.errors import EnvironmentFault, KilledFault, NetworkFault, StepFault
from flows.planning.plan import plan_job
from flows.store import Store
from tests.flows.conftest import room
from tests.flows.results import job_of


def test_a_machine_at_fault_leaves_no_step_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    job = job_of(room(tmp_path), store.home)
    step = job.quantize(job.target.rungs[0])
    for kind in (EnvironmentFault, NetworkFault) * 3:
        store.fail(step, kind("the disk is full"))
    assert plan_job(job, store).state == "stale"
    failure = store.failed(step)
    assert failure and failure.fault == "network"


def test_a_step_that_keeps_failing_is_left_alone_until_asked(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    job = job_of(room(tmp_path), store.home)
    step = job.quantize(job.target.rungs[0])
    for _ in range(2):
        store.fail(step, StepFault("it broke"))
    assert plan_job(job, store).state == "stale"
    store.fail(step, StepFault("it broke"))
    left = plan_job(job, store)
    assert left.state == "quarantined"
    assert "--retry" in left.why
    assert plan_job(job, store, retry=True).state == "stale"


def test_a_step_whose_process_is_killed_every_night_is_left_alone_until_there_is_more_memory(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    job = job_of(room(tmp_path), store.home)
    step = job.quantize(job.target.rungs[0])
    for _ in range(2):
        store.fail(step, KilledFault("killed"))
        store.fail(step, EnvironmentFault("the disk is full"))
    assert plan_job(job, store).state == "stale"
    failure = store.fail(step, KilledFault("killed"))
    left = plan_job(job, store)
    assert (failure.attempts, left.state) == (3, "quarantined")
    assert "--retry" in left.why and "where there is more memory than" in left.why
    assert plan_job(job, store, retry=True).state == "stale"
    assert failure.memory_bytes
    smaller = failure.model_copy(update={"memory_bytes": failure.memory_bytes // 2})
    (store.home / "failures" / f"{step.name}.json").write_text(smaller.model_dump_json())
    assert plan_job(job, store).state == "stale"
