"""Costs of an artifact beside its original, in one run.

Both are loaded by their stock loaders, each in a process of its own that does nothing else, and measured in turn, so
that whatever else the machine does falls on both alike.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from catalog.errors import EnvironmentFault
from catalog.foreign_errors import machine_fault
from catalog.formats import ORIGINAL
from catalog.progress import report
from catalog.runtime import RuntimeOptions
from gates.evidence import Speed

TURNS = 9
NEW_TOKENS = 32
_MARK, _FAULT = "measured:", "the machine is at fault:"


def measure(
    model: Path,
    artifact: Path,
    format_: str,
    runtime: RuntimeOptions,
    task: str,
    row: list[int],
    turns: int = TURNS,
) -> Speed:
    """Measure loading, decoding and peak memory of both, in turns.

    row: token ids, at least one; decoding begins with the first.
    """
    meters = [_Meter(model, ORIGINAL.name, RuntimeOptions(), task, row), _Meter(artifact, format_, runtime, task, row)]
    try:
        loads = [meter.ask("load")["seconds"] for meter in meters]
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn in range(turns + 1):
            report("speed: original and artifact in turn", turn, turns)
            for meter, taken in zip(meters, seconds, strict=True):
                taken.append(meter.ask("decode")["seconds"])
        peaks = [int(meter.ask("peak")["bytes"]) for meter in meters]
    finally:
        for meter in meters:
            meter.stop()
    # The first turn warms caches and compiles kernels.
    original, decode = (tuple(taken[1:]) for taken in seconds)
    return Speed(
        decode_seconds_original=original,
        decode_seconds=decode,
        load_seconds_original=loads[0],
        load_seconds=loads[1],
        peak_bytes_original=peaks[0],
        peak_bytes=peaks[1],
        tokens=NEW_TOKENS,
    )


class _Meter:
    """A process that holds one model and answers one line per request."""

    def __init__(self, path: Path, format_: str, runtime: RuntimeOptions, task: str, row: list[int]) -> None:
        command = [
            sys.executable,
            "-m",
            "gates.evaluation.speed",
            str(path),
            format_,
            runtime.model_dump_json(),
            task,
            json.dumps(row[:1]),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._path = path

    def ask(self, what: str) -> dict[str, float]:
        asked, answered = _pipe(self._process.stdin), _pipe(self._process.stdout)
        asked.write(what + "\n")
        asked.flush()
        for line in answered:
            if line.startswith(_MARK):
                return dict(json.loads(line.removeprefix(_MARK)))
            if line.startswith(_FAULT):
                raise EnvironmentFault(line.removeprefix(_FAULT).strip())
        code = self._process.wait()
        said = f"{self._path.name} could not be measured: its process ended with {code}"
        if code == -signal.SIGKILL:
            raise EnvironmentFault(
                f"{said}, most often because memory ran out: two models are held while speed is measured."
            )
        raise RuntimeError(said)

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _serve(path: Path, format_: str, runtime: str, task: str, *, row: list[int]) -> None:
    import torch

    from gates.clients import client

    def seconds(work: Any) -> dict[str, float]:
        start = time.perf_counter()
        work()
        return {"seconds": time.perf_counter() - start}

    def decode() -> None:
        held[0].generate(torch.tensor([row[:1]]), NEW_TOKENS, through_ends=True)

    options = RuntimeOptions.model_validate_json(runtime)
    held: list[client.Loaded] = []
    work: dict[str, Any] = {
        "load": lambda: seconds(lambda: held.append(client.load(path, format_, options, task))),
        "decode": lambda: seconds(decode),
        "peak": lambda: {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024},
    }
    for line in sys.stdin:
        try:
            print(_MARK + json.dumps(work[line.strip()]()), flush=True)
        except Exception as error:
            if fault := machine_fault(error):
                print(_FAULT + str(fault), flush=True)
            raise


if __name__ == "__main__":
    _, path, *words, ids = sys.argv
    _serve(Path(path), *words, row=json.loads(ids))
