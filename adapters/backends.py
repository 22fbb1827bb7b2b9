"""How processes that train together add up their gradients: one row for each backend of torch.distributed.

Imports no torch: planning reads this module.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

Backend = Literal["ccl", "gloo"]

BACKENDS: dict[Backend, str | None] = {"ccl": "oneccl_bindings_for_pytorch", "gloo": None}
"""By name, preferred first → the package that brings it; None: torch itself. oneCCL's is for one version of torch each, up to
2.8: it was not run here."""


def is_here(backend: Backend) -> bool:
    """Whether what brings a backend is installed."""
    package = BACKENDS[backend]
    return package is None or find_spec(package) is not None


def preferred() -> Backend:
    """The first that is here."""
    return next(backend for backend in BACKENDS if is_here(backend))


def missing(backend: Backend) -> str:
    """Say that what brings a backend is not installed, and what to do."""
    have = ", ".join(each for each in BACKENDS if is_here(each))
    return (
        f"backend {backend} needs the package {BACKENDS[backend]}, which is not installed here. Install the one that is made for "
        f"this torch, or name another (here: {have}), or auto for what is installed."
    )
