"""Costs of an artifact beside its original, in one run.

Both are loaded by their stock loaders, each in a process of its own that does nothing else, and measured in turn, so
that whatever else the machine does falls on both alike; so is the artifact in other programs that a format's row names.
"""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from catalog.errors import EnvironmentFault
from catalog.foreign_errors import machine_fault
from catalog.formats import ORIGINAL, RELEASED
from catalog.progress import report
from catalog.runtime import RuntimeOptions
from gates.evidence import Costs, Speed

TURNS = 9
NEW_TOKENS = 32
PROMPT = 256
"""Tokens of the prompt that the first token is waited for after, or all of a shorter row."""
OWN = "artifact"
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
    """Measure loading, decoding, the wait for a first token and resident memory of both, in turns.

    row: token ids, at least one; decoding begins with the first, and the prompt with another in each turn, so that what a
    client may have kept of the last is of no use.
    """
    row = row[:PROMPT]
    meters = {ORIGINAL.name: _Meter(model, ORIGINAL.name, RuntimeOptions(), task, row)}
    meters[OWN] = _Meter(artifact, format_, runtime, task, row)
    try:
        told = {name: _loaded(meter) for name, meter in meters.items()}
        for each in RELEASED[format_].runtimes:
            if each.meter and each.task == task:
                meters[each.name] = _Meter(artifact, format_, runtime, task, row, each.meter)
                try:
                    told[each.name] = _loaded(meters[each.name])
                except RuntimeError:  # what another program does not load is no fault of the artifact
                    meters.pop(each.name).stop()
        for turn in range(turns + 1):
            report("speed: original and artifact in turn", turn, turns)
            for what in ("decode", "first"):
                for name, meter in meters.items():
                    seconds = meter.ask(what)["seconds"]
                    if turn:  # the first warms caches and compiles kernels
                        told[name][f"{what}_seconds"] += (seconds,)
        for name, meter in meters.items():
            told[name] |= meter.ask("told")
    finally:
        for meter in meters.values():
            meter.stop()
    original = {f"{name}_original": value for name, value in told.pop(ORIGINAL.name).items()}
    return Speed(
        **original,
        **told.pop(OWN),
        elsewhere={name: Costs(**costs) for name, costs in told.items()},
        tokens=NEW_TOKENS,
        prompt=len(row),
        processor=processor(),
    )


def _loaded(meter: _Meter) -> dict[str, Any]:
    """Have a process load its model; return what it has cost so far."""
    return {"load_seconds": meter.ask("load")["seconds"], "decode_seconds": (), "first_seconds": ()}


def processor() -> str | None:
    """What the machine calls its processor; None where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


class _Meter:
    """A process that holds one model and answers one line per request."""

    def __init__(
        self, path: Path, format_: str, runtime: RuntimeOptions, task: str, row: list[int], program: str = ""
    ) -> None:
        command = [
            sys.executable,
            "-m",
            "gates.evaluation.speed",
            str(path),
            format_,
            runtime.model_dump_json(),
            task,
            json.dumps(row),
            program,
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._path = path

    def ask(self, what: str) -> dict[str, Any]:
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


def _serve(path: Path, format_: str, runtime: str, task: str, row: list[int], program: str) -> None:
    import torch

    from gates.clients import client

    def seconds(work: Any) -> dict[str, float]:
        start = time.perf_counter()
        work()
        return {"seconds": time.perf_counter() - start}

    begin = torch.tensor([row[:1]])

    def decode() -> None:
        held[0].generate(begin, NEW_TOKENS, through_ends=True)

    def first() -> None:
        row.append(row.pop(0))
        held[0].generate(torch.tensor([row]), 1, through_ends=True)

    def told() -> dict[str, int]:
        return {"peak_bytes": _memory("VmHWM"), "resident_bytes": _memory("VmRSS"), "threads": held[0].threads}

    options = RuntimeOptions.model_validate_json(runtime)
    held: list[Any] = []

    def load() -> None:
        if program:
            held.append(import_module(program).load(path, options.device, **options.arguments(RELEASED[format_])))
        else:
            held.append(client.load(path, format_, options, task))

    work: dict[str, Any] = {
        "load": lambda: seconds(load),
        "decode": lambda: seconds(decode),
        "first": lambda: seconds(first),
        "told": told,
    }
    for line in sys.stdin:
        try:
            print(_MARK + json.dumps(work[line.strip()]()), flush=True)
        except Exception as error:
            if fault := machine_fault(error):
                print(_FAULT + str(fault), flush=True)
            raise


def _memory(kept: str) -> int:
    """Bytes of this process that the kernel calls so. `ru_maxrss` would be those of the process that started it, where more."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{kept}:"))


if __name__ == "__main__":
    _, path, format_, runtime, task, ids, program = sys.argv
    _serve(Path(path), format_, runtime, task, json.loads(ids), program)
