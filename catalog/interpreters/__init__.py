"""Interpreters beside ours: one row for each set of packages that cannot share our environment, in a folder of its own.

A step's process starts them and talks to them over pipes; nothing of them is imported here.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from catalog.errors import EnvironmentFault

ENGINES_VARIABLE = "QUANTMILL_ENGINES"
"""Names the directory that interpreters are installed in, where that is not `HOME/engines`; steps are told by it."""
RECORD = "installed.json"
"""Written last into an interpreter's directory: what it was installed from."""
_PINS = ("requirements.txt", "torch.txt")
# Kernels of the archived stack share out their work by the machine's cores, and compute nonsense where torch has fewer threads.
_UNSAID = ("PYTHONPATH", "PYTHONHOME", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Interpreter:
    """One set of pinned packages."""

    name: str
    words: str
    """What it is, for a person."""
    imports: str
    """What must be importable when it is installed."""

    @property
    def directory(self) -> Path:
        """Where its pinned files are."""
        return Path(__file__).parent / self.name

    @property
    def pins(self) -> tuple[Path, ...]:
        """Its requirements files, in the order they are installed."""
        return tuple(self.directory / name for name in _PINS)

    @cached_property
    def identity(self) -> str:
        """What stands for its versions in keys: the beginning of the hash of its pinned files."""
        return hashlib.sha256(b"".join(path.read_bytes() for path in self.pins)).hexdigest()[:16]

    @property
    def command(self) -> str:
        """What installs it."""
        return f"quantmill engine install {self.name}"

    def python(self, engines: Path) -> Path:
        """The interpreter, where it is installed below `engines`."""
        return engines / self.name / "bin" / "python"


INTERPRETERS: dict[str, Interpreter] = {
    row.name: row
    for row in (
        Interpreter(
            "itrex",
            "intel-extension-for-transformers 1.4.2 with neural-compressor 2.6, archived by their makers",
            "intel_extension_for_transformers.transformers, intel_extension_for_transformers.qbits, intel_extension_for_pytorch",
        ),
    )
}
"""By name, which is the engine's, too."""


def engines_of(home: Path) -> Path:
    """Where interpreters are installed, for a store."""
    return Path(os.environ.get(ENGINES_VARIABLE) or home / "engines")


def is_installed(name: str, engines: Path) -> bool:
    """Whether an interpreter is there, whole, and made from the files that are pinned now."""
    record = engines / name / RECORD
    return record.is_file() and INTERPRETERS[name].identity in record.read_text("utf-8")


def missing(name: str, engines: Path) -> str:
    """Say that an interpreter is not there, and what to do."""
    row, there = INTERPRETERS[name], (engines / name).is_dir()
    what = "was installed from other versions" if there else "is not installed"
    return f"engine {name} ({row.words}) {what} in {engines / name}: {row.command}"


def python_of(name: str) -> Path:
    """The interpreter that a step's process may start.

    Raises:
        EnvironmentFault: it is not installed.
    """
    engines = Path(os.environ.get(ENGINES_VARIABLE) or "engines")
    if not is_installed(name, engines):
        raise EnvironmentFault(missing(name, engines))
    return INTERPRETERS[name].python(engines)


def environment(scratch: Path) -> dict[str, str]:
    """What such an interpreter is started with: nothing of our packages, a cache of its own below `scratch`, no network."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNSAID}
    # Threads that wait must not take a core from others that share it.
    quiet = {"OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return {**kept, **quiet, **offline, "HF_HOME": str(scratch / "hub"), "PYTHONHASHSEED": "0"}
