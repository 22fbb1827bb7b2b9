import errno
import os
import socket

import pytest

from catalog.errors import EnvironmentFault, Fault, InputError, NetworkFault, StepFault
from catalog.foreign_errors import as_fault, machine_fault


class SafetensorError(Exception):
    """As the library raises it: the system's number is lost."""


def wrapped(outer: Exception, inner: BaseException) -> Exception:
    outer.__cause__ = inner
    return outer


MACHINES = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/store/x"),
    OSError(errno.EROFS, os.strerror(errno.EROFS), "/store/x"),
    PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/store/x"),
    MemoryError(),
    ModuleNotFoundError("No module named 'nncf'"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"
    ),
    RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError(
        'Exception from src/inference/src/cpp/core.cpp:130:\nDevice with "NPU" name is not registered in the OpenVINO'
    ),
    RuntimeError(
        'Cannot load library "intel_gpu_plugin.so": libOpenCL.so.1: cannot open shared object file: No such file'
    ),
    RuntimeError("[GPU] clFlush, error code: -36 CL_OUT_OF_RESOURCES"),
    RuntimeError(
        "[CPU] FullyConnectedCompressed node with name 'q_proj/MatMul' could not create a primitive descriptor for the inner"
    ),
    RuntimeError("brgemm executor Init Failure 'brgemm bf16 kernel could only be used above avx512_bf16"),
    wrapped(RuntimeError("could not save"), OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))),
]
NETWORKS = [
    ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)),
    OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH)),
    TimeoutError("timed out"),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    wrapped(RuntimeError("connect failed"), ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/model/config.json"),
    BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)),
    KeyError("model.norm.weight"),
    ValueError("the device named in the configuration is unknown"),
]


@pytest.mark.parametrize("error", MACHINES, ids=str)
def test_what_the_machine_lacks_is_its_fault_in_one_paragraph(error: Exception) -> None:
    fault = as_fault(error)
    assert type(fault) is EnvironmentFault
    assert "\n" not in str(fault)
    assert str(fault) == str(machine_fault(error))


@pytest.mark.parametrize("error", NETWORKS, ids=str)
def test_a_server_that_is_not_reached_is_the_networks_fault(error: Exception) -> None:
    assert type(as_fault(error)) is NetworkFault


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_anything_else_is_a_step_that_failed(error: Exception) -> None:
    fault = as_fault(error)
    assert type(fault) is StepFault
    assert type(error).__name__ in str(fault)
    assert machine_fault(error) is None


@pytest.mark.parametrize("error", [InputError("wrong"), StepFault("broke"), NetworkFault("away")], ids=str)
def test_an_error_of_ours_stays_what_it_is(error: Fault) -> None:
    assert as_fault(error) is error
    assert as_fault(wrapped(RuntimeError("x"), InputError("disk is full"))).fault == "step"


def test_the_file_is_named() -> None:
    fault = as_fault(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/store/x"))
    assert "the disk is full" in str(fault) and "/store/x" in str(fault) and "run again" in str(fault)
