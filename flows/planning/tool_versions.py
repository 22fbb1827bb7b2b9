"""Versions of whatever can change bits or a verdict, by step; they are part of a step's key."""

from __future__ import annotations

import platform
from functools import cache

from catalog.formats import ORIGINAL
from catalog.libraries import making, scoring
from catalog.libraries import versions as installed_versions

# Raised by hand when a change of ours changes what a step produces.
STEP_VERSIONS = {
    "texts": 1,
    "contamination": 1,
    "tasks": 1,
    "baseline": 3,
    "sensitivity": 6,
    "quantize": 11,
    "evidence": 4,
    "verdict": 6,
    "publish": 5,
}

_WITHOUT_MODEL: dict[str, tuple[str, ...]] = {
    "texts": ("datasets", "pyarrow"),
    "contamination": (),
    "tasks": ("lm_eval", "datasets"),
    "verdict": (),
    "publish": ("huggingface_hub",),
}
"""Libraries of the steps that run no model."""


@cache
def versions(
    step: str, *, format: str | None = None, engine: str | None = None, task: str | None = None
) -> dict[str, str]:
    """Return library → version for a step, the step's own version included. Without an engine, nothing is made."""
    if step in _WITHOUT_MODEL:
        libraries = _WITHOUT_MODEL[step]
    else:
        libraries = making(engine, format) if engine and format else scoring(format or ORIGINAL.name, task)
    own = {"quantmill": f"{step} {STEP_VERSIONS[step]}", "python": platform.python_version()}
    return own | installed_versions(libraries)
