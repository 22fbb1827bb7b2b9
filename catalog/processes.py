"""What a process does about its parent, and about memory it is done with. Needs nothing but the standard library."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, however it dies (Linux, prctl(2))."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os.kill(os.getpid(), signal.SIGKILL)


MAPPED = 4 << 20
"""Bytes from which an allocation is a mapping of its own."""
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Variable that torch reads when it first allocates: at `1` it asks for huge pages. A mapping is new to the kernel each time: in
pages of 4 kB, the kernel took a quarter of the CPU time of scoring a 1.1 B shape, and in huge ones a sixth."""


def return_freed_memory() -> None:
    """Have glibc give the memory of a freed tensor back to the system at once; no other C library is touched.

    Its threshold otherwise grows with the tensors that were freed, and what lies below it stays resident: a fifth
    of the peak when blocks of a billion-parameter model come and go, and two thirds when weights are unpacked for 1,024 tokens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        for option in (mmap_threshold, trim_threshold):
            mallopt(option, MAPPED)
