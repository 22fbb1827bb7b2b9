"""Which recipes one child makes in one pass."""

from __future__ import annotations

from catalog.engines import ENGINES
from flows.files.fingerprint import fingerprint
from flows.manifest.model import Rung
from flows.planning.jobs import Job
from flows.planning.states import Planned


def batches(todo: list[Planned]) -> list[tuple[str, list[tuple[Job, Rung]]]]:
    """Group recipes that one child makes in one pass: ours by calibration text, other engines one by one.

    Data-free recipes go along with a calibrated pass where there is one, since it reads every weight anyway.
    """
    read: dict[int | None, str] = {}
    for p in todo:
        if p.rung.recipe.calibrated and ENGINES[p.rung.recipe.engine].streams:
            read.setdefault(p.job.manifest.memory_bytes, fingerprint(p.job.quantize(p.rung).inputs["calibration"]))
    groups: dict[tuple[str, ...], list[tuple[Job, Rung]]] = {}
    for planned in todo:
        job, rung = planned.job, planned.rung
        memory = job.manifest.memory_bytes
        text = read.get(memory, "")
        if rung.recipe.calibrated:
            text = fingerprint(job.quantize(rung).inputs["calibration"])
        streams = ENGINES[rung.recipe.engine].streams
        group = ("streaming", text, str(memory)) if streams else (job.release, rung.name)
        groups.setdefault(group, []).append((job, rung))
    return [
        (f"{work[0][0].original.name}: quantize {', '.join(job.target.name for job, _ in work)}", work)
        for work in groups.values()
    ]
