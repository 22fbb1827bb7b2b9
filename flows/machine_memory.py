"""The memory that this process may use, and whether the kernel has ended a process for want of it (Linux)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil

_LIMITS = {
    "": ("memory.max", Path("/sys/fs/cgroup")),
    "memory": ("memory.limit_in_bytes", Path("/sys/fs/cgroup/memory")),
}
"""By the controller that /proc/self/cgroup names, none for version 2: the file that holds a group's limit, and the root."""


@cache
def memory_bytes() -> int:
    """Memory and swap of this machine, or the least that one of the control groups this process is in may use."""
    total = int(psutil.virtual_memory().total + psutil.swap_memory().total)
    return min([total, *_group_limits()])


def _group_limits() -> Iterator[int]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if controller in _LIMITS:
                name, root = _LIMITS[controller]
                group = root / path.lstrip("/")
                # In a container the path may be the host's, and its own group is the root.
                for directory in (group, *group.parents) if group.is_dir() else (root,):
                    if directory.is_relative_to(root):
                        yield from _limit(directory / name)


def _limit(file: Path) -> Iterator[int]:
    try:
        text = file.read_text().strip()
    except OSError:
        return
    if text.isdigit():
        yield int(text)


def kills_for_memory() -> int:
    """Processes that the kernel has ended since it started because memory, the machine's or a group's, had run out."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
