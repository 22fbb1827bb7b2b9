"""Versions of whatever can change bits or a verdict, by step; they are part of a step's key."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

# Raised by hand when a change of ours changes what a step produces.
STEP_VERSIONS = {
    "texts": 1,
    "contamination": 1,
    "tasks": 1,
    "baseline": 1,
    "sensitivity": 4,
    "quantize": 5,
    "evidence": 2,
    "verdict": 2,
    "publish": 1,
}

_TORCH = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "jinja2")
_BY_STEP: dict[str, tuple[str, ...]] = {
    "texts": ("datasets", "pyarrow"),
    "baseline": _TORCH,
    "contamination": (),
    "tasks": ("lm_eval", "datasets"),
    "verdict": (),
    "publish": ("huggingface_hub",),
}
_BY_FORMAT: dict[str, tuple[str, ...]] = {
    "compressed-tensors": ("compressed-tensors",),
    "bitsandbytes": ("bitsandbytes",),
    "openvino": ("openvino", "openvino-tokenizers", "optimum", "optimum-intel"),
}
_BY_ENGINE: dict[str, tuple[str, ...]] = {
    "streaming": ("numba",),
    "nncf": ("nncf",),
    "neural-compressor": ("neural_compressor_pt",),
}
_BY_PAIR: dict[tuple[str, str], tuple[str, ...]] = {
    # IR is made from a compressed-tensors artifact.
    ("streaming", "openvino"): ("compressed-tensors",),
}


@cache
def versions(step: str, *, format: str = "", engine: str = "") -> dict[str, str]:
    """Return library → version for a step, the step's own version included."""
    names = _BY_STEP.get(step, _TORCH) + _BY_FORMAT.get(format, ()) + _BY_ENGINE.get(engine, ())
    names += _BY_PAIR.get((engine, format), ())
    return {"quantmill": f"{step} {STEP_VERSIONS[step]}", "python": platform.python_version()} | {
        name: installed(name) for name in names
    }


@cache
def installed(name: str) -> str:
    """Return the installed version of a distribution, or `absent`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
