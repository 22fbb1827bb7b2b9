"""One process that trains: alone, or one of several that torchrun started (`python -m adapters.worker OUT WORK PARENT`)."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    default_data_collator,
)

from adapters import base, rows
from adapters.backends import BACKENDS, Backend, is_here, missing
from adapters.launch import FAULT, Told, cores
from adapters.recipe import Recipe
from adapters.request import LIBRARIES, REQUEST, Base, Trained, TrainRequest
from catalog.errors import EnvironmentFault
from catalog.foreign_errors import as_fault
from catalog.libraries import versions
from catalog.processes import die_with, return_freed_memory
from catalog.progress import report

WHOLE = "whole"
"""File that says of a checkpoint that all of it is written."""
CHECKPOINTS = 20
"""Into so many parts a training is divided, at the most; one that is killed loses less than a part."""


def _any_cpu(storage: Any, location: str) -> Any:
    return storage if location.startswith("cpu:") else None


# Of several processes accelerate calls the n-th's device cpu:n, and Trainer reads its checkpoints to there, which torch.load
# knows no such place as.
torch.serialization.register_package(0, lambda storage: None, _any_cpu)


class Followed(TrainerCallback):  # type: ignore[misc]
    """Tells progress, and which checkpoints are whole."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A step is done."""
        if state.is_world_process_zero:
            report("training", state.global_step, state.max_steps)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A checkpoint is written; of several processes by the first, once each has written its part."""
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / WHOLE).touch()


def work_on(request: TrainRequest, out: Path, work: Path) -> None:
    """Train, from the last whole checkpoint below `work` if there is one; the first process writes `out/adapter`."""
    recipe = request.recipe
    bind(recipe.processes, int(os.environ.get("LOCAL_RANK", "0")))
    if recipe.processes > 1:
        join(request.backend)
    tokenizer = AutoTokenizer.from_pretrained(
        request.base.directory, local_files_only=True, trust_remote_code=False, use_fast=True
    )
    data = rows.read(request.documents, tokenizer, recipe)
    model = base.load(request)
    first = int(os.environ.get("RANK", "0")) == 0
    trainer = Trainer(
        model,
        _arguments(recipe, request.compute, work / "checkpoints"),
        data_collator=default_data_collator,
        train_dataset=data,
        callbacks=[Followed()],
    )
    trainer.train(resume_from_checkpoint=_checkpoint(work / "checkpoints", remove=first))
    if not first:
        return
    _save(model, request.base, out / "adapter")
    trained = Trained(
        losses=tuple(entry["loss"] for entry in trainer.state.log_history if "loss" in entry),
        rows=len(data),
        parameters=sum(each.numel() for each in model.parameters() if each.requires_grad),
        modules=tuple(sorted(model.peft_config["default"].target_modules)),
        tools=versions(LIBRARIES),
        compute=request.compute,
    )
    (work / "trained.json").write_text(trained.model_dump_json(), "utf-8")


def join(backend: Backend) -> None:
    """Join the other processes. accelerate, which knows gloo and MPI alone on a CPU, takes the group that is there.

    Raises:
        EnvironmentFault: what brings the backend is not here, or does not load beside this torch.
    """
    if not is_here(backend):
        raise EnvironmentFault(missing(backend))
    if package := BACKENDS[backend]:
        try:
            import_module(package)
        except Exception as error:  # a library of another torch ends in many ways
            raise EnvironmentFault(
                f"backend {backend}: {package} does not load beside torch {torch.__version__} ({error}). Install the one that is "
                "made for it, or name backend: gloo."
            ) from error
    torch.distributed.init_process_group(backend)


def bind(processes: int, rank: int) -> None:
    """Keep one of several processes to its part of the cores, and torch to as many threads."""
    each = max(1, cores() // processes)
    if processes > 1 and cores() >= processes:
        own = sorted(os.sched_getaffinity(0))[rank * each : (rank + 1) * each]
        os.sched_setaffinity(0, own)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    torch.set_num_threads(min(each, int(asked)) if asked.isdigit() and int(asked) else each)


def _arguments(recipe: Recipe, compute: str, directory: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(directory),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=recipe.accumulation,
        gradient_checkpointing=True,
        gradient_checkpointing_kwargs=base.NOT_REENTRANT,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=recipe.steps // 10,
        bf16=compute == "bfloat16",
        use_cpu=True,
        ddp_backend="gloo" if recipe.processes > 1 else None,
        ddp_find_unused_parameters=False,
        seed=recipe.seed,
        data_seed=recipe.seed,
        save_steps=max(1, recipe.steps // CHECKPOINTS),
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
    )


def _checkpoint(directory: Path, *, remove: bool) -> str | None:
    """The last checkpoint that is whole, or None; others are in the way of those to come."""
    found = sorted(directory.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in found if (path / WHOLE).exists()]
    if remove:
        for path in found:
            if path not in whole:
                shutil.rmtree(path)
    return str(whole[-1]) if whole else None


def _save(model: Any, named: Base, adapter: Path) -> None:
    """Write what stock peft loads, which finds the base by its name and commit."""
    shutil.rmtree(adapter, ignore_errors=True)
    model.save_pretrained(adapter, save_embedding_layers=False)
    (adapter / "README.md").unlink(missing_ok=True)  # the release has a card of its own
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_bytes())
    config |= {"base_model_name_or_path": named.name, "revision": named.revision}
    config["target_modules"] = sorted(config["target_modules"])  # a set, in no order
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def main() -> None:
    """Train as one of several."""
    out, work = map(Path, sys.argv[1:3])
    die_with(int(sys.argv[3]))
    return_freed_memory()
    request = REQUEST.validate_json((work / "request.json").read_bytes())
    assert isinstance(request, TrainRequest)
    try:
        work_on(request, out, work)
    except Exception as error:
        fault = as_fault(error)
        # Of several the first tells: the others fail because that one is gone.
        with suppress(FileExistsError), (work / FAULT).open("x", encoding="utf-8") as file:
            file.write(Told(fault=fault.fault, message=str(fault)).model_dump_json())
        raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
