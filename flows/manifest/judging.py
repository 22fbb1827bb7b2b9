"""What `judge: streamed` rules out: a model of which each run reads all weights writes nothing, token after token."""

from __future__ import annotations

from catalog.formats import FORMATS
from catalog.tasks import TASKS
from flows.manifest.model import Manifest
from flows.manifest.yaml_source import Source


def refuse_unstreamed(source: Source, manifest: Manifest) -> None:
    """Raise ManifestError where nothing is streamed, and for devices, tasks and gates that need all of an artifact at once."""
    if manifest.judge == "stock":
        return
    streamed = [
        target
        for target in manifest.targets.values()
        if any(FORMATS[rung.recipe.format].streamer for rung in target.rungs)
    ]
    if not streamed:
        formats = ", ".join(format_.name for format_ in FORMATS.values() if format_.streamer)
        raise source.error(
            ("judge",),
            f"is streamed, which is for formats {formats}: artifacts of these targets are loaded whole",
        )
    for target in streamed:
        if target.runtime.device != "CPU":
            raise source.error(
                ("targets", target.name),
                f"is for {target.runtime.device}, and what is streamed (judge) is scored on the CPU; put this target in a "
                "manifest of its own",
            )
        if target.runtime.compute and any(rung.recipe.format == "compressed-tensors" for rung in target.rungs):
            raise source.error(
                ("targets", target.name, "runtime"),
                "says what to compute in, which weights that are unpacked a block at a time (judge: streamed) do not heed; "
                "leave it out, or put this target in a manifest of its own",
            )
    task = TASKS[manifest.model.task]
    if not task.generates:
        raise source.error(
            ("judge",),
            f"is streamed, which is for models that continue texts; those for {task.words} are run row by row",
        )
    gates = manifest.gates
    running = [name for name, gate in gates.asked() if gate.generates or name == "speed"]
    if gates.tasks:
        running.append("tasks")
    openvino = [target.name for target in streamed if any(rung.recipe.format == "openvino" for rung in target.rungs)]
    if gates.overflow and openvino:
        raise source.error(
            ("gates", "overflow"),
            f"looks at all of a graph at once, and target {openvino[0]} is streamed (judge); leave the gate out, or put that "
            "target in a manifest of its own",
        )
    if running:
        raise source.error(
            ("gates", running[0]),
            f"runs the stock loader, and target {streamed[0].name} is streamed (judge); leave the gate out, or put that "
            "target in a manifest of its own",
        )
