import os
from pathlib import Path

import pytest

from catalog.errors import StepFault
from flows.execution.steps import known
from flows.planning.jobs import Step
from flows.store import DamagedEntry, Record, Store


def sealed(store: Store, text: str = "weights") -> Record:
    scratch = store.scratch("quantize", "k")
    (scratch / "out" / "sub").mkdir()
    (scratch / "out" / "sub" / "file").write_text(text)
    return store.seal(scratch, "quantize", "k", inputs={"a": 1}, result={}, seconds=1.0, peak_memory_bytes=2)


def test_an_entry_is_complete_only_once_sealed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.scratch("quantize", "k")
    assert not store.complete("quantize", "k")
    record = sealed(store)
    assert store.complete("quantize", "k")
    assert store.record("quantize", "k") == record
    assert list(record.files) == ["sub/file"]
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("text", ["Weights", "weight", "weights and more"])
def test_a_changed_file_is_found(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    record = sealed(store)
    store.verify(record)
    (store.out("quantize", "k") / "sub" / "file").write_text(text)
    with pytest.raises(DamagedEntry, match="sub/file"):
        store.verify(record)


def test_a_damaged_entry_is_not_trusted_but_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    step = Step("quantize", {"a": 1})
    scratch = store.scratch(step.kind, step.key)
    (scratch / "out" / "file").write_text("weights")
    store.seal(scratch, step.kind, step.key, inputs=step.inputs, result={}, seconds=1.0, peak_memory_bytes=2)
    assert known(store, step) is not None
    (store.out(step.kind, step.key) / "file").unlink()
    assert known(store, step) is None
    assert not store.complete(step.kind, step.key)


def test_an_interrupted_scratch_is_emptied_unless_it_is_to_be_resumed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.scratch("quantize", "k") / "out" / "half").write_text("x")
    assert (store.scratch("quantize", "k", resume=True) / "out" / "half").exists()
    assert not (store.scratch("quantize", "k") / "out" / "half").exists()


def test_failures_are_counted_until_the_step_succeeds(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.fail("quantize", "k", StepFault("it broke"))
    assert store.fail("quantize", "k", StepFault("it broke")).attempts == 2
    sealed(store)
    assert store.failed("quantize", "k") is None


def test_only_forgotten_work_is_swept_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = store.scratch("quantize", "old"), store.scratch("quantize", "new")
    os.utime(old, (0, 0))
    store.sweep()
    assert (old.exists(), new.exists()) == (False, True)
