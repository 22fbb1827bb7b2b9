"""Whose fault an exception is that is none of ours: the system's and the libraries', told apart by number or by words.

Libraries wrap what the system told them, each in its own way: the number is then lost, and its text is what is left.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator

from catalog.errors import EnvironmentFault, Fault, NetworkFault, StepFault

_ROOM = "Free some space there, or put the store on another disk with --home, and run again: what was finished is kept."
_RIGHTS = "Give this user the right to it, or put the store elsewhere with --home, and run again."
_MEMORY = (
    "memory ran out",
    "Compare what `quantmill plan` predicts with `free -h`, and run again where there is more, or with a smaller `memory:`.",
)
_DEVICE = (
    "a device, or its driver, is not there",
    "`quantmill doctor` lists the devices of this machine: name one of them, or run where that device is.",
)
_INSTRUCTIONS = (
    "the CPU lacks instructions that its runtime plans for, or a variable such as ONEDNN_MAX_CPU_ISA hides them",
    "Unset it, or run on another machine.",
)
_FULL = ("the disk is full", _ROOM)
_SYSTEM: dict[int, tuple[str, str]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: ("the disk quota is used up", _ROOM),
    errno.EFBIG: ("a file grew larger than this disk or `ulimit -f` allows", _ROOM),
    errno.EROFS: ("the file system is read-only", _RIGHTS),
    errno.EACCES: ("permission is denied", _RIGHTS),
    errno.EPERM: ("permission is denied", _RIGHTS),
    errno.EIO: ("the disk reports an error", "See `dmesg`, put the store on a sound disk with --home, and run again."),
    errno.ENOMEM: _MEMORY,
    errno.EMFILE: ("this process may open no more files", "Raise `ulimit -n`, and run again."),
    errno.ENFILE: ("this machine may open no more files", "Close some programs, and run again."),
}
"""What a number of the system's means, and what to do."""
_LOST_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM)
_WORDS: tuple[tuple[str, tuple[str, str]], ...] = (
    *((re.escape(os.strerror(number)), _SYSTEM[number]) for number in _LOST_NUMBERS),
    (r"database or disk is full", _FULL),  # SQLite
    (r"can't start new thread", ("this user may start no more threads", "Raise `ulimit -u`, and run again.")),
    (r"not enough memory|out of memory|memory allocation of \d+ bytes failed|bad_alloc", _MEMORY),  # torch, Rust, C++
    (r"CL_OUT_OF_\w+|OUT_OF_(HOST|DEVICE)_MEMORY", _MEMORY),  # OpenCL, Level Zero
    (r"Device with \S+ name is not registered|No available devices|cannot open shared object file", _DEVICE),
    (r"could not create a primitive descriptor|could only be used above \w+", _INSTRUCTIONS),  # oneDNN in OpenVINO
    (r"CL_DEVICE_NOT_\w+|ZE_RESULT_ERROR_(DEVICE_LOST|UNINITIALIZED)|CUDA (driver|error)", _DEVICE),
)
"""What libraries write, what it means, and what to do."""
_UNREACHED = frozenset({errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH})


def machine_fault(error: BaseException) -> EnvironmentFault | None:
    """Return the machine's or the network's fault that `error`, or what caused it, tells of; None where it is neither's."""
    for each in _causes(error):
        if isinstance(each, EnvironmentFault):
            return each
        if isinstance(each, Fault):
            return None
        if isinstance(each, ImportError):
            return EnvironmentFault(
                f"a package is missing here or is broken ({_said(each)}): install quantmill again from its constraints, "
                "`quantmill doctor` lists what it finds"
            )
        if _is_network(each):
            return NetworkFault(f"a server was not reached ({_said(error)}): check the network, and run again")
        if known := _known(each):
            what, remedy = known
            return EnvironmentFault(f"{what} ({_said(error)}). {remedy}")
    return None


def last_words(said: str) -> type[Fault]:
    """Return the kind of fault that a process told of which ended without an exception: what C++ and Rust write at last."""
    return EnvironmentFault if _read(said) else StepFault


def as_fault(error: BaseException) -> Fault:
    """Return `error` as one of the kinds of `catalog.errors`; what nobody foresaw is a step that failed."""
    if isinstance(error, Fault):
        return error
    return machine_fault(error) or StepFault(_said(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_network(error: BaseException) -> bool:
    if isinstance(error, BrokenPipeError):  # a program that reads ours has ended
        return False
    gone = isinstance(error, ConnectionError | TimeoutError | socket.gaierror)
    return gone or (isinstance(error, OSError) and error.errno in _UNREACHED)


def _known(error: BaseException) -> tuple[str, str] | None:
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        return _SYSTEM[error.errno]
    return _read(str(error))


def _read(said: str) -> tuple[str, str] | None:
    return next((known for words, known in _WORDS if re.search(words, said, re.IGNORECASE)), None)


def _said(error: BaseException) -> str:
    """Class and message in one line, shortened where a library is verbose."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:600]}" if words else type(error).__name__
