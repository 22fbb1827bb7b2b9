"""Processes that train together: as many as the recipe says, each on its own part of the machine's cores."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from adapters.request import Trained, TrainRequest
from catalog.errors import FAULTS, Fault, KilledFault, StepFault

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
"""Processes of one machine meet on its loopback, whatever its name resolves to."""
FAULT = "fault.json"
"""What the first of them ended with, below the working directory."""


class Told(BaseModel):
    """A fault as one process tells it to another."""

    fault: str
    message: str


def launch(request: TrainRequest, out: Path, work: Path) -> Trained:
    """Train in this process, or, of several, under torchrun with gloo; return what was written of it."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "request.json").write_text(request.model_dump_json(), "utf-8")
    (work / FAULT).unlink(missing_ok=True)
    if request.recipe.processes == 1:
        from adapters.worker import work_on

        work_on(request, out, work)
    else:
        _torchrun(request.recipe.processes, out, work)
    return Trained.model_validate_json((work / "trained.json").read_bytes())


def _torchrun(processes: int, out: Path, work: Path) -> None:
    """Do what torchrun does, in this process, so that those it starts are this one's own and die with it."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ |= {**LOOPBACK, "OMP_NUM_THREADS": str(max(1, cores() // processes))}
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-u", "-m", "adapters.worker", str(out), str(work), str(os.getpid()))
    except ChildFailedError as error:
        raise _fault(error, work / FAULT) from error


def _fault(error: ChildFailedError, told: Path) -> Fault:
    """Why processes that trained together failed. One that was killed is the machine's fault, whatever the others say of it."""
    if any(failure.exitcode == -signal.SIGKILL for failure in error.failures.values()):
        return KilledFault(
            "one of the processes that trained together was killed (signal 9), most often because memory ran out: give the "
            "adapter fewer processes, a smaller micro_batch, or run where more memory is free"
        )
    if told.exists():
        said = Told.model_validate_json(told.read_bytes())
        return FAULTS[said.fault](said.message)
    return StepFault(f"processes that trained together failed: {error}")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
