"""What this machine has, and what of a plan it cannot do: known before the work, and nothing about a model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from adapters.backends import is_here
from adapters.backends import missing as missing_backend
from catalog.errors import EnvironmentFault
from catalog.formats import FORMATS
from catalog.interpreters import engines_of, is_installed, missing
from catalog.libraries import installed
from flows.errors import LeftOut
from flows.machine_memory import memory_bytes
from flows.planning.adapter_plan import PlannedAdapter
from flows.planning.cost import weights_bytes
from flows.planning.plan import Plan
from flows.planning.predictions import Predictions
from flows.planning.states import Planned
from quantizers.hardware.compute_dtype import cpu_flags

ERROR = 1.5
"""Factor that a prediction may be off by: what is refused would not fit even then."""
_RUNNING = 16_000_000
"""Bytes that a run takes besides what it makes: Prefect's database, most of all, logs, and records."""
_PARTS = ("store", "scratch", "hub", "jobs", "risk", "history", "runs", "failures", "cache", "prefect")
"""Of a home, what a run writes in; another user's run may have made it."""
_ACCELERATORS = {
    "cuda": ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg"),
    "xpu": ("/dev/dri", "/dev/dxg"),
}
"""What the driver of a device puts there on Linux: NVIDIA's, AMD's, Intel's, and Windows' for its Linux subsystem."""


@cache
def openvino_devices() -> tuple[str, ...]:
    """Devices that OpenVINO finds here, such as CPU or GPU.0; none without OpenVINO. Takes a third of a second."""
    try:
        from openvino import Core
    except ImportError:
        return ()
    return tuple(Core().available_devices)


@cache
def _capabilities() -> tuple[str, ...]:
    """Dtypes that OpenVINO multiplies in on this CPU, such as BF16."""
    try:
        from openvino import Core
    except ImportError:
        return ()
    return tuple(Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def free_bytes(home: Path) -> int:
    """Free bytes of the disk that holds the store, or will."""
    return shutil.disk_usage(_there(home)).free


def refuse_unfit(plan: Plan, home: Path) -> None:
    """Refuse a plan that this machine cannot carry out.

    Raises:
        EnvironmentFault: a device or a package is missing, memory or disk is too small for what is predicted, or the
            store cannot be written.
    """
    making = [planned for planned in plan.stale if planned.steps != ("publish",)]
    # One of each kind: in a thousand manifests the same work stands many times.
    kinds = {(p.job.quantize(p.rung).key, p.job.baseline.key, p.job.target.runtime): p for p in making}.values()
    memory = memory_bytes()
    problems = [
        f"{planned.job.manifest.path}: targets.{planned.job.target.name}: {problem}"
        for planned in kinds
        for problem in _unfit(planned, memory, engines_of(home))
    ]
    problems += [
        f"{planned.job.manifest.path}: adapters.{planned.job.name}: {problem}"
        for planned in plan.adapters
        if planned.state == "stale"
        for problem in _unfit_adapter(planned, memory)
    ]
    if problems:
        more = f" So it is with {len(problems) - 1} more." if len(problems) > 1 else ""
        raise EnvironmentFault(problems[0] + more)
    if plan.stale:
        _refuse_unwritable(home)
    _refuse_full_disk(list(kinds), home)


def leave_out(plan: Plan) -> tuple[Plan, list[LeftOut]]:
    """Return what is left of a plan without the targets whose device is not here, and adapters on them, and why each
    is left out.

    A manifest may be for several machines. Where no target that is to be made is left, the plan is returned as it is, to be
    refused.
    """
    absent = {
        planned.job.release: LeftOut(planned.job.release, problem)
        for planned in plan.stale
        if planned.steps != ("publish",) and (problem := _without_device(planned))
    }
    if len(absent) == len(plan.stale):
        return plan, []
    adapters = tuple(planned for planned in plan.adapters if planned.job.base_release not in absent)
    return Plan(tuple(planned for planned in plan.jobs if planned.job.release not in absent), adapters), [
        *absent.values()
    ]


def _without_device(planned: Planned) -> str | None:
    device = planned.job.target.runtime.device
    if device in _ACCELERATORS:
        there, finds = torch_has(device), f"torch {installed('torch')} finds none of that name"
    else:
        devices = openvino_devices()
        there = device == "CPU" or device in {name.split(".")[0] for name in devices}
        finds = f"OpenVINO finds {', '.join(devices) or 'none'}"
    if there:
        return None
    return (
        f"device {device} is not on this machine, where {finds}. Run where the device and its driver are, or name another one; "
        "--target does the other targets alone."
    )


def _unfit(planned: Planned, memory: int, engines: Path) -> Iterator[str]:
    job, rung = planned.job, planned.rung
    calibration = job.manifest.calibration
    if absent := _without_device(planned):
        yield absent
    if job.runtime(rung).compute == "bf16" and FORMATS[rung.recipe.format].properties and "BF16" not in _capabilities():
        yield (
            "runtime.compute bf16: OpenVINO multiplies no bfloat16 on this CPU, and would use float32 without a word. Name "
            "fp32 or int8, or auto for the fastest of those that it has."
        )
    if apart := FORMATS[rung.recipe.format].interpreter:
        yield from _unfit_apart(planned, apart, engines)
    if rung.recipe.calibrated and not torch_has(calibration.device):
        yield (
            f"calibration.device {calibration.device} is not on this machine, or torch {installed('torch')} was built "
            "without it. Run where it is, or calibrate on cpu."
        )
    tools = {**job.quantize(rung).inputs["tools"], **job.baseline.inputs["tools"]}
    if missing := sorted(name for name, version in tools.items() if version == "absent"):
        yield (
            f"the package {missing[0]} is not installed, which its recipe needs. Install quantmill again from its "
            "constraints; `quantmill doctor` lists what is missing."
        )
    if (needed := Predictions().of(planned).memory_bytes) > ERROR * memory:
        yield (
            f"about {_size(needed)} of memory are needed, and this machine has {_size(memory)}, swap included. "
            "Run on a larger one, or take a smaller model or a recipe that is not calibrated."
        )


def _unfit_apart(planned: Planned, interpreter: str, engines: Path) -> Iterator[str]:
    """What an engine in an interpreter of its own lacks."""
    if not is_installed(interpreter, engines):
        yield f"{missing(interpreter, engines)}. --target does the other targets alone."
    if planned.job.runtime(planned.rung).compute == "bf16" and "amx_bf16" not in cpu_flags():
        yield (
            "runtime.compute bf16: its kernels multiply bfloat16 with AMX alone (device ISA must support AMX-BF16), which this "
            "CPU lacks. Name fp32 or int8, or auto for the fastest of those that it has."
        )


def _unfit_adapter(planned: PlannedAdapter, memory: int) -> Iterator[str]:
    job = planned.job
    if "train" in planned.steps and job.adapter.processes > 1 and not is_here(job.backend):
        yield missing_backend(job.backend)
    if (needed := Predictions().of_adapter(planned).memory_bytes) > ERROR * memory:
        yield (
            f"about {_size(needed)} of memory are needed, and this machine has {_size(memory)}, swap included. Run on a larger "
            "one, or take fewer processes, a smaller micro_batch or fewer tokens."
        )


def torch_has(device: str) -> bool:
    """Whether torch was built for a device of that name and its driver is here, as far as that is seen without torch."""
    if device not in _ACCELERATORS:
        return True
    return "+cpu" not in installed("torch") and any(Path(node).exists() for node in _ACCELERATORS[device])


def _refuse_unwritable(home: Path) -> None:
    parts = [home / part for part in _PARTS if (home / part).is_dir()]
    for directory in (_there(home), *parts):
        if not os.access(directory, os.W_OK | os.X_OK):
            read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
            why = "its file system is read-only" if read_only else f"permission is denied on {directory}"
            raise EnvironmentFault(
                f"{home} cannot be written: {why}. Give this user the right to it, or name another directory for the store "
                "with --home."
            )


def _there(home: Path) -> Path:
    return next(folder for folder in (home, *home.parents) if folder.is_dir())


def _refuse_full_disk(making: list[Planned], home: Path) -> None:
    quantized = {p.job.quantize(p.rung).key: p for p in making if "quantize" in p.steps}
    artifacts = [weights_bytes(p.job.original, p.rung) for p in quantized.values()]
    fetched = {p.job.original.revision: p.job.original.bytes for p in making if p.job.original.directory is None}
    needed = sum(artifacts) + sum(fetched.values()) + _RUNNING * bool(making)
    if needed > (free := free_bytes(home)):
        models = f" and {len(fetched)} models to fetch" if fetched else ""
        raise EnvironmentFault(
            f"{home}: the disk has {_size(free)} free, and {_size(needed)} are needed for {len(artifacts)} artifacts{models}. "
            "Free some, put the store on another disk with --home, or do a part of it with --target."
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 500_000_000 else f"{count / 1e6:.1f} MB"
