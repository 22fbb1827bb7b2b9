"""Work shared among cores so that their number changes no bit: every sum is one thread's.

A library that shares a product or a sum among threads adds in an order that follows from their number: Cholesky factors
of OpenBLAS and MKL and torch's sums of whole tensors differ between one thread and two, some of MKL's products between
two and eight. So libraries are held to one thread, and what does not depend on each other, batches, rows and columns in
pieces whose size is fixed, is given to as many threads as there are cores.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Done = TypeVar("Done")

_of_pool = threading.local()


def cores() -> int:
    """Threads that work side by side: as many as OMP_NUM_THREADS says, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Hold torch and its libraries to the calling thread; what is given to `side_by_side` is held to one anyway."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(work: Callable[[Piece], Done], pieces: Iterable[Piece]) -> list[Done]:
    """Return what `work` makes of each piece, in order; no piece may need another.

    In the caller's grad mode; within a piece, further pieces are done one after the other.
    """
    waiting, grad, count = list(pieces), torch.is_grad_enabled(), cores()
    if hasattr(_of_pool, "member"):
        return [work(piece) for piece in waiting]
    if count == 1 or len(waiting) < 2:
        with one_thread_each():
            return [work(piece) for piece in waiting]

    def held(piece: Piece) -> Done:
        with torch.set_grad_enabled(grad):
            return work(piece)

    return list(_pool(count).map(held, waiting))


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="quantizers", initializer=_enter_pool)


def _enter_pool() -> None:
    _of_pool.member = True
    torch.set_num_threads(1)


def pieces(length: int, size: int) -> list[slice]:
    """Slices of `size` that cover `length` items, whoever works on them."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]
