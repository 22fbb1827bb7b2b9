import os
from pathlib import Path

import pytest

from catalog.errors import StepFault
from flows.execution.steps import known
from flows.planning.kinds import QUANTIZE, Artifact
from flows.store import DamagedEntry, Record, Store
from tests.flows.results import artifact

STEP = QUANTIZE.step({"a": 1})


def sealed(store: Store, text: str = "weights") -> Record[Artifact]:
    scratch = store.scratch(STEP.name)
    (scratch / "out" / "sub").mkdir()
    (scratch / "out" / "sub" / "file").write_text(text)
    return store.seal(STEP, scratch, artifact(), seconds=1.0, peak_memory_bytes=2)


def test_an_entry_is_complete_only_once_sealed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.scratch(STEP.name)
    assert not store.complete(STEP)
    record = sealed(store)
    assert store.complete(STEP)
    assert store.record(STEP) == record
    assert store.result(STEP) == artifact()
    assert list(record.files) == ["sub/file"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_record_of_something_else_is_a_missing_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sealed(store)
    path = store.directory(STEP) / "record.json"
    path.write_text(path.read_text().replace('"weights_bytes"', '"bytes"'))
    assert store.record(STEP) is None
    assert not store.complete(STEP)


@pytest.mark.parametrize("text", ["Weights", "weight", "weights and more"])
def test_a_changed_file_is_found(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    record = sealed(store)
    store.verify(STEP, record)
    (store.out(STEP) / "sub" / "file").write_text(text)
    with pytest.raises(DamagedEntry, match="sub/file"):
        store.verify(STEP, record)


def test_a_damaged_entry_is_not_trusted_but_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sealed(store)
    assert known(store, STEP) is not None
    (store.out(STEP) / "sub" / "file").unlink()
    assert known(store, STEP) is None
    sealed(store)
    assert known(store, STEP) is not None
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_interrupted_scratch_is_emptied_unless_it_is_to_be_resumed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.scratch("work") / "out" / "half").write_text("x")
    assert (store.scratch("work", resume=True) / "out" / "half").exists()
    assert not (store.scratch("work") / "out" / "half").exists()


def test_failures_are_counted_until_the_step_succeeds(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.fail(STEP, StepFault("it broke"))
    assert store.fail(STEP, StepFault("it broke")).attempts == 2
    sealed(store)
    assert store.failed(STEP) is None


def test_only_forgotten_work_is_swept_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = store.scratch("old"), store.scratch("new")
    os.utime(old, (0, 0))
    store.sweep()
    assert (old.exists(), new.exists()) == (False, True)
