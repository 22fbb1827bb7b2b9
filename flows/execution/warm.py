"""Steps that are forked from a process which has imported their libraries (`flows.execution.template`)."""

from __future__ import annotations

import atexit
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO

_PROGRAM = Path(__file__).with_name("template.py")
_LATE = ("QUANTMILL_", "PREFECT_", "PYTEST_")
"""What the variables begin with that no library reads while it is imported."""
_DEVICES = ("/dev/nvidiactl", "/dev/kfd")


class Forked:
    """A step's process, with as much of `subprocess.Popen` as `flows.execution.child` needs."""

    def __init__(self, pid: int, status: socket.socket, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.pid, self.stdout, self.stderr = pid, stdout, stderr
        self.returncode: int | None = None
        self._status = status

    def wait(self) -> int:
        """Wait for its end; return its exit code, or minus the number of the signal that ended it."""
        if self.returncode is None:
            said = self._status.recv(1024)  # an interrupt may come here, and whoever is interrupted waits once more
            self._status.close()
            # Its template is gone: the kernel has killed this process with it.
            self.returncode = int(json.loads(said)["code"]) if said else -signal.SIGKILL
        return self.returncode

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Template:
    """A template process of this one, started with an environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment, self.owner = environment, os.getpid()
        self._control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ends, self._alive = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), str(its.fileno()), str(ends)],
            env=environment,
            pass_fds=[its.fileno(), ends],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        its.close()
        os.close(ends)

    def serves(self, environment: dict[str, str]) -> bool:
        """Whether a step with that environment can be forked from it."""
        both = set(environment.items()) ^ set(self.environment.items())
        same = all(name.startswith(_LATE) for name, _ in both)
        return same and self.owner == os.getpid() and self._process.poll() is None

    def fork(self, arguments: list[str], environment: dict[str, str]) -> Forked | None:
        """Start a step; None if the template has died."""
        asked = {
            "arguments": arguments,
            "directory": str(Path.cwd()),
            "set": {name: value for name, value in environment.items() if self.environment.get(name) != value},
            "unset": [name for name in self.environment if name not in environment],
        }
        (output, writes), (errors, complains) = os.pipe(), os.pipe()
        status, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            socket.send_fds(self._control, [json.dumps(asked).encode()], [writes, complains, its.fileno()])
        except OSError:
            said = b""
        else:
            its.close()
            said = status.recv(1024)
        finally:
            its.close()
            os.close(writes)
            os.close(complains)
        stdout, stderr = os.fdopen(output, "rb"), os.fdopen(errors, "rb")
        if said:
            return Forked(int(json.loads(said)["pid"]), status, stdout, stderr)
        for unused in (status, stdout, stderr):
            unused.close()
        return None

    def close(self) -> None:
        """End it."""
        self._control.close()
        os.close(self._alive)
        if self.owner == os.getpid():
            self._process.wait()


_one = Lock()
_template: Template | None = None


def fork(arguments: list[str], environment: dict[str, str]) -> Forked | None:
    """Start `launch.py` with those arguments; None where it must be started as a process of its own.

    That is so on systems without pidfds, where forking from a process that uses the system's libraries is not safe, and where a
    library may open a GPU while it is imported, which a forked process cannot use.
    """
    global _template
    if not _possible():
        return None
    with _one:
        if _template is None or not _template.serves(environment):
            close()
            _template = Template(dict(environment))
        return _template.fork(arguments, environment | {"QUANTMILL_PARENT": ""})


@atexit.register
def close() -> None:
    """End the template, if there is one."""
    global _template
    if _template is not None:
        _template.close()
        _template = None


def _possible() -> bool:
    if not (sys.platform.startswith("linux") and hasattr(os, "pidfd_open")):
        return False
    try:
        build = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:  # the step says what is missing
        return False
    return "xpu" not in build and not any(map(os.path.exists, _DEVICES))
