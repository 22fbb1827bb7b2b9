"""Tasks of lm-evaluation-harness: the original's answers once, an artifact's held against them item by item."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from scipy.stats import binomtest

from catalog.foreign_errors import machine_fault
from catalog.progress import report
from gates.clients.client import Loaded
from gates.errors import GateError
from gates.evidence import TaskScores
from gates.request import TaskRequest


class Answers(BaseModel):
    """What one model answered to one task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    """The first metric that the task lists."""
    configuration: dict[str, str | int | float | bool | None]
    items: str
    """sha256 of all prompts and targets: two models answered the same questions only when it is equal."""
    scores: tuple[float, ...]
    responses: str
    """sha256 of all raw responses."""


ANSWERS: TypeAdapter[dict[str, Answers]] = TypeAdapter(dict[str, Answers])


def answer(loaded: Loaded, tokenizer: Any, tasks: tuple[TaskRequest, ...], whose: str) -> dict[str, Answers]:
    """Put every task to a model, one item at a time.

    Raises `GateError` for a task that the harness does not know or whose items are not on this machine.
    """
    if not tasks:
        return {}
    model = loaded.harness(tokenizer)
    answers = {}
    for number, task in enumerate(tasks):
        report(f"{whose}: task {task.name}", number, len(tasks))
        answers[task.name] = _answer(model, task)
    report(f"{whose}: tasks", len(tasks), len(tasks))
    return answers


def _answer(model: Any, task: TaskRequest) -> Answers:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    directory = Path(task.file).parent if task.file else Path.cwd()
    if task.file and not Path(task.file).is_file():
        raise GateError(f"Task {task.name}: there is no file {task.file}. Give the YAML file of the task.")
    try:
        manager = TaskManager(include_path=str(directory) if task.file else None, include_defaults=not task.file)
        # Data files that a task names are relative to it; the harness reads them relative to the working directory.
        with contextlib.chdir(directory):
            results = simple_evaluate(
                model=model,
                tasks=[task.name],
                num_fewshot=task.fewshot,
                limit=task.items,
                apply_chat_template=task.chat_template,
                task_manager=manager,
                bootstrap_iters=0,
                log_samples=True,
            )
    except (KeyError, ValueError, OSError) as error:
        text = " ".join(str(error).split())[:300]
        raise machine_fault(error) or GateError(
            f"Task {task.name} cannot be put to the model ({type(error).__name__}: {text}). Check its name, or its "
            "file, and that its data set is on this machine."
        ) from error
    return _collect(results, task)


def _collect(results: Any, task: TaskRequest) -> Answers:
    scores: list[float] = []
    items, responses = hashlib.sha256(), hashlib.sha256()
    metrics = set()
    for name in sorted(results["samples"]):
        metric = next(iter(results["configs"][name]["metric_list"]))["metric"]
        metrics.add(metric)
        for sample in results["samples"][name]:
            scores.append(float(sample[metric]))
            items.update(f"{sample['prompt_hash']}{sample['target_hash']}".encode())
            responses.update(json.dumps(sample["resps"]).encode())
    if not scores:
        raise GateError(f"Task {task.name} has no item. Choose one that has.")
    return Answers(
        metric=", ".join(sorted(metrics)),
        configuration={
            "version": str(results["versions"].get(task.name)),
            "output_type": ", ".join(sorted({results["configs"][name]["output_type"] for name in results["samples"]})),
            "fewshot": results["n-shot"].get(task.name),
            "chat_template": task.chat_template,
            "items": len(scores),
        },
        items=items.hexdigest(),
        scores=tuple(scores),
        responses=responses.hexdigest(),
    )


def compare(original: dict[str, Answers], artifact: dict[str, Answers]) -> dict[str, TaskScores]:
    """Pair both models' scores item by item. Raises `GateError` when they were not asked the same."""
    return {name: _compare(name, original.get(name), own) for name, own in artifact.items()}


def _compare(name: str, original: Answers | None, own: Answers) -> TaskScores:
    if original is None or original.items != own.items or original.metric != own.metric:
        raise GateError(
            f"Task {name}: the baseline was not asked the same questions. Its prompts, targets or chat template differ "
            "from the artifact's; run the baseline again with this task and configuration."
        )
    return TaskScores(
        metric=own.metric,
        configuration=own.configuration | {"questions": own.items},
        original=original.scores,
        artifact=own.scores,
        identical=original.responses == own.responses,
        mcnemar_p=_mcnemar(original.scores, own.scores),
    )


def _mcnemar(original: tuple[float, ...], artifact: tuple[float, ...]) -> float | None:
    """Exact two-sided McNemar test: of the items that changed, as many for the better as for the worse?"""
    if not set(original) | set(artifact) <= {0.0, 1.0}:
        return None
    lost = sum(a > b for a, b in zip(original, artifact, strict=True))
    gained = sum(a < b for a, b in zip(original, artifact, strict=True))
    return float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0
