"""What of a run is released, by what became of its controls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from catalog.errors import EnvironmentFault, Fault
from flows import build
from flows.build import Passed, Run
from flows.store import Store
from flows.tasks import ControlPassed


def passed(release: str, format_: str) -> Passed:
    job = SimpleNamespace(
        release=release,
        target=SimpleNamespace(release=True),
        baseline=SimpleNamespace(key="b"),
        runtime=lambda rung: SimpleNamespace(said={}),
    )
    rung = SimpleNamespace(name=format_, recipe=SimpleNamespace(format=format_))
    return Passed(cast(Any, job), cast(Any, rung), cast(Any, None), now=True)


@pytest.mark.parametrize(
    ("faults", "released"),
    [
        ({}, ["a", "b", "c"]),
        ({"gguf": EnvironmentFault("the disk is full")}, ["a", "c"]),
        ({"gguf": ControlPassed("it passed")}, []),
    ],
    ids=["all refused", "one could not be made", "one passed"],
)
def test_what_is_released_after_the_controls(
    faults: dict[str, Fault], released: list[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []

    def control(job: Any, rung: Any, store: Store, *, anew: bool) -> None:
        if fault := faults.get(rung.name):
            raise fault

    monkeypatch.setattr("flows.build.tasks.control", control)
    monkeypatch.setattr("flows.build.tasks.publish", lambda job, *_: published.append(job.release))
    run = Run(Store(tmp_path / "home"), retry=False)
    run.passed = [passed("a", "openvino"), passed("b", "gguf"), passed("c", "openvino")]
    build.release(run)
    assert published == released
    assert [fault.fault for fault in run.failed] == [fault.fault for fault in faults.values()]
