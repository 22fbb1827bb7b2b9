"""A process that has imported what heavy steps import, and forks one child for each: `python template.py SOCKET PIPE`.

Imports are most of what a step on a small model takes: 5 to 6 seconds of CPU, which are spent once for a run here. A message on
the socket, whose descriptor is given, is a step: its arguments and environment in JSON, and with it three descriptors: standard
output, standard error, and one that is told `{"pid": …}` at once and `{"code": …}` at the end, as `subprocess` counts codes.
When whoever holds the other end of the pipe is gone, the kernel ends this process, and its children with it.

No thread may run here and no device may be opened: neither survives a fork.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import select
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass

from catalog.processes import HUGE_PAGES, die_with
from flows.execution import launch

IMPORTED = (
    "gates.entrypoint",
    "quantizers.entrypoint",
    "transformers.models.auto.modeling_auto",
    "compressed_tensors",
)
"""What every heavy step imports in the end; 0.5 GB, which its children share."""
LARGEST = 1 << 20
"""Bytes of a message."""


@dataclass(frozen=True)
class _Asked:
    arguments: list[str]
    directory: str
    set: dict[str, str]
    unset: list[str]


def main() -> int:
    """Import, then fork until the socket is closed; return a child's exit code in the child."""
    _end_with(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all its processes
    control = socket.socket(fileno=int(sys.argv[1]))
    os.environ.setdefault(HUGE_PAGES, "1")
    for module in IMPORTED:
        with suppress(ImportError):  # the step that needs it says what is missing
            importlib.import_module(module)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    selector.unregister(key.fileobj)
                    _tell_end(key.fd, *key.data)
                    continue
                message, descriptors, _, _ = socket.recv_fds(control, LARGEST, 3)
                if not message:
                    return 0
                output, errors, status = descriptors
                told, asked = socket.socket(fileno=status), _Asked(**json.loads(message))
                parent = os.getpid()
                if (pid := os.fork()) == 0:
                    selector.close()
                    control.close()
                    told.close()
                    return _step(asked, output, errors, parent)
                os.close(output)
                os.close(errors)
                _tell(told, pid=pid)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))


def _end_with(pipe: int) -> None:
    """Have SIGIO end this process when the last writer of a pipe is gone, whatever is being imported at the time.

    The signal of prctl(2) would not do: it comes when the thread ends that started this process.
    """
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:  # it was before
        os._exit(0)


def _step(asked: _Asked, output: int, errors: int, parent: int) -> int:
    """Be a process such as `launch.py` starts as, and do the step."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, standard in ((output, 1), (errors, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    for name in asked.unset:
        os.environ.pop(name, None)
    os.environ |= asked.set
    os.chdir(asked.directory)
    sys.argv = [launch.__file__, *asked.arguments]
    return launch.main()


def _tell_end(ended: int, pid: int, told: socket.socket) -> None:
    os.close(ended)
    _, status = os.waitpid(pid, 0)
    _tell(told, code=os.waitstatus_to_exitcode(status))
    told.close()


def _tell(told: socket.socket, **what: int) -> None:
    with suppress(OSError):  # whoever asked is gone
        told.send(json.dumps(what).encode())


if __name__ == "__main__":
    sys.exit(main())
