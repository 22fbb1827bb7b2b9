"""What `judge: streamed` rules out: a model of which each run reads all weights writes nothing, token after token."""

from __future__ import annotations

from catalog.formats import FORMATS
from catalog.tasks import TASKS
from flows.manifest.model import Manifest
from flows.manifest.yaml_source import Source


def refuse_unstreamed(source: Source, manifest: Manifest) -> None:
    """Raise ManifestError where nothing is unpacked, and for tasks and gates that need artifacts to generate."""
    if manifest.judge == "stock":
        return
    unpacked = [
        target.name
        for target in manifest.targets.values()
        if any(not FORMATS[rung.recipe.format].small_in_memory for rung in target.rungs)
    ]
    if not unpacked:
        formats = ", ".join(format_.name for format_ in FORMATS.values() if not format_.small_in_memory)
        raise source.error(
            ("judge",),
            f"is streamed, which is for format {formats}: the stock loaders of these targets keep weights packed",
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
    if running:
        raise source.error(
            ("gates", running[0]),
            f"runs the stock loader, and target {unpacked[0]} is streamed (judge); leave the gate out, or put that target in "
            "a manifest of its own",
        )
