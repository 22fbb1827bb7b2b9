"""Runs of one model that go abreast: each stops before a module whose weights are brought, until all others have come as far.

So weights are read once for all runs, whatever a model does between its blocks. A run is a thread; one goes at a time.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch
from torch import Tensor, nn

_here = threading.local()
_ARENAS = -8
"""M_ARENA_MAX of mallopt(3)."""


class Run:
    """One run of a model, which goes on when it is told to."""

    def __init__(self, work: Callable[[], Tensor], going: Callable[[], AbstractContextManager[None]]) -> None:
        self._work, self._going = work, going
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._made: Tensor | None = None
        self._error: BaseException | None = None
        self._ended = False
        self.before: nn.Module | None = None
        """Where it stands; None: it has not begun, or is through."""
        # What is never asked for again must not keep a process from ending.
        self._thread = threading.Thread(target=self._main, daemon=True)

    def step(self) -> bool:
        """Go on to the next stop; whether there was one. Raises whatever the run raises."""
        self.before = None
        with self._going():
            self._go.release() if self._thread.ident else self._thread.start()
            self._stopped.acquire()
        if self._error:
            raise self._error
        return self.before is not None

    def made(self) -> Tensor:
        """Go on to the end; return what was made."""
        while self._made is None:
            self.step()
        return self._made

    def end(self) -> None:
        """Let go of what it holds, wherever it stands."""
        self._ended = True
        if self.before is not None:
            self._go.release()
            self._thread.join()
        self.before = self._made = None

    def stop(self, module: nn.Module) -> None:
        """Wait, in its own thread, until it is told to go on."""
        self.before = module
        self._stopped.release()
        self._go.acquire()
        if self._ended:
            raise _Ended

    def _main(self) -> None:
        _here.run = self
        try:
            with torch.inference_mode():
                self._made = self._work()
        except _Ended:
            return
        except BaseException as error:  # told by whoever waits for it
            self._error = error
        self._stopped.release()


class _Ended(BaseException):
    """Ends a thread."""


def running() -> bool:
    """Whether this is the thread of a run."""
    return getattr(_here, "run", None) is not None


def stops(model: nn.Module) -> bool:
    """Have runs of a model whose weights are brought stop before its modules; whether they can be told to.

    A module that holds weights while one within it has more brought would lose them to another run.
    """
    brought = [module for module in model.modules() if brings(module)]
    for module in brought:
        if any(brings(inner) for inner in module.modules() if inner is not module):
            return False
    _share_heap()
    for module in brought:
        module.register_forward_pre_hook(_stop)
    return True


def _share_heap() -> None:
    """Have threads take memory from one heap. glibc gives each its own, which keeps what it had: 0.4 GB in four runs."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENAS, 1)


def _stop(module: nn.Module, given: Any) -> None:
    if run := getattr(_here, "run", None):
        run.stop(module)


def brings(module: nn.Module) -> bool:
    """Whether weights are brought when a module is called."""
    hooks = getattr(module, "_hf_hook", None)
    for hook in getattr(hooks, "hooks", (hooks,)):
        if (
            hook
            and getattr(hook, "offload", False)
            and any(True for _ in module.parameters(recurse=hook.place_submodules))
        ):
            return True
    return False


def rounds(runs: Sequence[Run], last: nn.Module | None) -> Iterator[None]:
    """Bring runs abreast to where they stand before `last`, or to their ends; yields before each round."""
    left = list(runs)
    while left:
        yield
        left = [run for run in left if run.step() and run.before is not last]
