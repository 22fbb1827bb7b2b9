"""What is read from the source of libraries is what they say when they are imported; and a source that differs says nothing."""

from pathlib import Path

import pytest

from catalog.task import Task
from catalog.tasks import TASKS
from flows.planning.preflight import installed
from quantizers.formats.openvino import limits


def test_types_and_classes_are_those_of_transformers() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    assert installed.model_types() == frozenset(CONFIG_MAPPING_NAMES)
    names = installed.architectures("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")
    written = {k: (v,) if isinstance(v, str) else tuple(v) for k, v in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()}
    assert names == written


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_what_is_exported_is_what_the_exporter_registers_for_this_transformers(task: Task) -> None:
    import optimum.exporters.openvino.model_configs  # noqa: F401  # registers them
    import transformers
    from optimum.exporters.tasks import TasksManager
    from packaging.version import Version

    ours, kinds = Version(transformers.__version__), set()
    for kind, backends in TasksManager._LIBRARY_TO_SUPPORTED_MODEL_TYPES["transformers"].items():
        export = backends.get("openvino", {}).get(task.export)
        made = getattr(export, "func", export)
        least, most = (getattr(made, f"{end}_TRANSFORMERS_VERSION", None) for end in ("MIN", "MAX"))
        if export and (not least or Version(str(least)) <= ours) and (not most or ours <= Version(str(most))):
            kinds.add(kind)
    assert limits.exported(task.export) == frozenset(kinds)


def test_tasks_of_the_harness_are_known_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = installed.harness_tasks(tmp_path)
    assert first is not None and {"arc_easy", "mmlu", "hellaswag", "gsm8k"} <= first and "arc_eazy" not in first
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("read again"))
    assert installed.harness_tasks(tmp_path) == first


def test_a_source_that_is_not_as_expected_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (installed, limits):
        monkeypatch.setattr(module, "source", lambda *_: "NAMES = build()\n")
    assert installed._table("modeling_auto", "NAMES") is None
    assert limits.exported.__wrapped__("text-generation-with-past") is None
