"""Versions of whatever can change bits or a verdict, by step; they are part of a step's key."""

from __future__ import annotations

import platform
from functools import cache

from adapters.request import LIBRARIES as TRAINING
from catalog.formats import ORIGINAL
from catalog.libraries import making, scoring
from catalog.libraries import versions as installed_versions

# Raised by hand when a change of ours changes what a step produces.
STEP_VERSIONS = {
    "texts": 1,
    "contamination": 1,
    "tasks": 1,
    "baseline": 4,
    "sensitivity": 6,
    "statistics": 1,
    "quantize": 17,
    "evidence": 7,
    "verdict": 7,
    "train": 1,
    "adapter-evidence": 1,
    "adapter-verdict": 1,
    "publish": 7,
}

_OF_ITS_OWN: dict[str, tuple[str, ...]] = {
    "texts": ("datasets", "pyarrow"),
    "contamination": (),
    "tasks": ("lm_eval", "datasets"),
    "verdict": (),
    "train": TRAINING,
    "adapter-verdict": (),
    "publish": ("huggingface_hub",),
}
"""Libraries of the steps for which neither a format nor an engine decides these."""


@cache
def versions(
    step: str, *, format: str | None = None, engine: str | None = None, task: str | None = None
) -> dict[str, str]:
    """Return library → version for a step, the step's own version included. Without an engine, nothing is made."""
    if step in _OF_ITS_OWN:
        libraries = _OF_ITS_OWN[step]
    else:
        libraries = making(engine, format, task) if engine and format else scoring(format or ORIGINAL.name, task)
    own = {"quantmill": f"{step} {STEP_VERSIONS[step]}", "python": platform.python_version()}
    return own | installed_versions(libraries)
