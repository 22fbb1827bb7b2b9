"""What this machine can do, for a person and for a bug report."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import psutil
from packaging.requirements import Requirement

from catalog.errors import InputError
from catalog.interpreters import engines_of
from catalog.libraries import installed, known
from catalog.tokens import hub_token
from flows.interpreters import listed
from flows.planning.machine import free_bytes, openvino_devices
from quantizers.hardware.compute_dtype import cpu_flags, fastest

_ISA = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_TOOLS = tuple(sorted({*known(), "huggingface_hub", "openvino-genai", "prefect"}))


def examine(home: Path) -> dict[str, Any]:
    """Return instruction set, memory, disk, OpenVINO devices, versions, what is missing, engines apart, and settings."""
    memory = psutil.virtual_memory()
    return {
        "python": platform.python_version(),
        "cpu": {
            "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
            "isa": [name for name in _ISA if name in cpu_flags()],
            "compute_auto": fastest("cpu"),
        },
        "memory": {"total_bytes": memory.total, "available_bytes": memory.available},
        "disk": {"home": str(home), "free_bytes": free_bytes(home)},
        "openvino_devices": list(openvino_devices()),
        "versions": {name: installed(name) for name in _TOOLS},
        "missing_packages": list(unmet(_requirements())),
        "engines": {row["engine"]: row.get("command") or row["where"] for row in listed(engines_of(home))},
        "hub": {
            "endpoint": os.environ.get("HF_ENDPOINT", "https://huggingface.co"),
            "token": _token(),
        },
        "prefect_api": os.environ.get("PREFECT_API_URL", "none: a run starts a server of its own"),
    }


def _requirements() -> list[str]:
    try:
        return requires("quantmill") or []
    except PackageNotFoundError:  # a source tree that was not installed
        return ["quantmill"]


def unmet(requirements: Iterable[str]) -> Iterator[str]:
    """Yield each requirement that does not hold here, with what is installed instead; those of extras are passed over."""
    for written in requirements:
        wanted = Requirement(written)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        version = installed(wanted.name)
        if version == "absent" or not wanted.specifier.contains(version, prereleases=True):
            yield f"{wanted.name}{wanted.specifier} ({'not installed' if version == 'absent' else f'{version} is installed'})"


def _token() -> str:
    try:
        return "set" if hub_token() else "not set"
    except InputError as error:
        return str(error)
