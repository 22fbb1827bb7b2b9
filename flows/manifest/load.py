"""Read a manifest: `load(path)` returns it typed, defaults filled in, presets expanded; or raises ManifestError."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError

from catalog.destinations import kind_of, path_of
from catalog.formats import FORMATS
from catalog.task import DOMAIN, Column, Task
from catalog.tasks import TASKS
from flows.manifest import drafts
from flows.manifest.adapters import Adapter, refuse_unfit
from flows.manifest.directory import ManifestDirectory
from flows.manifest.errors import ManifestError, choices, shown
from flows.manifest.explain import explain
from flows.manifest.form import Form
from flows.manifest.judging import refuse_unstreamed
from flows.manifest.model import Manifest, Model, Publish, Target
from flows.manifest.names import MAX_LENGTH, fault, fault_of_id
from flows.manifest.placing import placed, read_by
from flows.manifest.presets import presets_for
from flows.manifest.targets import targets
from flows.manifest.texts import WIKITEXT
from flows.manifest.yaml_source import Key, Source, read
from gates.spec import KINDS, Gates


def load(path: Path | str, *, allow_path: bool = False) -> Manifest:
    """Load one manifest.

    Looks at no file but the manifest, its targets.yaml and where its paths lead; `flows.planning.preflight` looks into them.
    With `allow_path` local sources may lie outside the manifest's directory. Raises ManifestError.
    """
    path = Path(path)
    source = read(path)
    try:
        form = Form.model_validate_json(json.dumps(source.data), strict=True)
    except ValidationError as error:
        raise explain(source, error, Form) from error
    absolute = path.parent.resolve() / path.name
    room, task = ManifestDirectory(source, absolute.parent, allow_path), TASKS[form.model.task]
    manifest = Manifest(
        path=absolute,
        model=form.model,
        directory=_directory(room, form.model),
        calibration=placed(room, ("calibration",), read_by(task.calibration[0], form.calibration)),
        evaluation=placed(room, ("evaluation",), read_by(task.columns[0], form.evaluation)),
        targets=targets(source, presets_for(absolute.parent).of_task(task)),
        adapters={name: _adapter(room, name, each) for name, each in form.adapters.items()},
        gates=form.gates.of_task(form.model.task),
        publish=_destined(room, form.publish),
        memory_bytes=None if form.memory is None else int(form.memory),
        judge=form.judge,
    )
    _of_task(source, form.gates, manifest)
    _named(source, manifest)
    _apart(source, manifest)
    _releasable(source, manifest)
    refuse_unfit(source, manifest)
    refuse_unstreamed(source, manifest)
    drafts.refuse_unfit(source, manifest)
    return manifest


def _adapter(room: ManifestDirectory, name: str, adapter: Adapter) -> Adapter:
    texts = {key: placed(room, ("adapters", name, key), getattr(adapter, key)) for key in ("data", "held_out")}
    return adapter.model_copy(update=texts)


def load_all(paths: Iterable[Path | str], *, allow_path: bool = False) -> tuple[Manifest, ...]:
    """Load several manifests. Raises ManifestError also when two of them make a release of the same name."""
    manifests = tuple(load(path, allow_path=allow_path) for path in paths)
    owners: dict[str, Manifest] = {}
    for manifest in manifests:
        for section, target in manifest.made:
            name = manifest.release(target)
            other = owners.setdefault(name.lower(), manifest)
            if other is not manifest:
                problem = f"makes the release {name}, which {shown(other.path)} makes, too; give model.name or publish.namespace"
                raise read(shown(manifest.path)).error((section, target), problem)
    return manifests


def _of_task(source: Source, written: Gates, manifest: Manifest) -> None:
    """Refuse gates, columns and searches that the model's task does not have."""
    task = TASKS[manifest.model.task]
    for kind in KINDS.keys() - set(task.gates):
        if kind in written.model_fields_set and getattr(written, kind):
            raise source.error(("gates", kind), f"is no gate of {task.name}{choices(task.gates)}")
    _columns(source, "evaluation", manifest.evaluation.columns, task.columns, f"is no column of {task.name}")
    words = f"is no column that recipes for {task.name} are calibrated on"
    _columns(source, "calibration", manifest.calibration.columns, task.calibration, words)
    for kind, gate in manifest.gates.asked():
        if getattr(gate, "every_domain", None) and DOMAIN.name not in manifest.columns:
            remedy = f"name its key, evaluation: {{columns: {{{DOMAIN.name}: KEY}}}}"
            if DOMAIN not in task.columns:
                remedy = f"rows of {task.name} have none"
            raise source.error(("gates", kind, "every_domain"), f"needs rows that say their domain: {remedy}")
    for target in manifest.targets.values():
        if refused := _refused(target, task, manifest.gates):
            raise source.error(*refused)


def _columns(source: Source, section: str, named: Iterable[str], columns: Sequence[Column], wrong: str) -> None:
    """Refuse a key for a column that is none, or the first."""
    others = [column.name for column in columns[1:]]
    for name in named:
        if name not in others:
            allowed = choices(others) if others else "; it reads one, which column names"
            raise source.error((section, "columns", name), f"{wrong}{allowed}")


def _named(source: Source, manifest: Manifest) -> None:
    """Refuse the default text for a task whose rows begin with a file."""
    task = TASKS[manifest.model.task]
    first, *_ = task.columns
    if task.reads and manifest.calibration.source == WIKITEXT["source"]:
        for target in manifest.targets.values():
            if any(rung.recipe.calibrated for rung in target.rungs):
                raise source.error(
                    ("targets", target.name),
                    f"is calibrated, for {task.words} on rows that begin with the {first.words}; name them, such as "
                    "calibration: {files: [calibration.jsonl]}, or use a recipe without transform, with nearest rounding and "
                    "without activations",
                )
    if first.is_file and manifest.evaluation.source == WIKITEXT["source"]:
        raise source.error(
            ("model", "task"),
            f"is {manifest.model.task}, which is judged on rows that begin with the {first.words}; name them, such as "
            "evaluation: {files: [rows.jsonl]}",
        )


def _refused(target: Target, task: Task, gates: Gates) -> tuple[Key, str] | None:
    """What a target asks for that its task or format does not have, or is asked: the key, and why."""
    key = ("targets", target.name)
    if target.search and not task.generates:
        return (*key, "auto" if target.search.auto.share is None else "ratio"), (
            f"searches by the divergence of next tokens, and {task.name} has none; give a recipe, or a ladder of them"
        )
    if not task.tokenizes and any(rung.recipe.embeddings for rung in target.rungs):
        return (
            key,
            f"stores token embeddings in another type, and models for {task.words} have none; leave embeddings out",
        )
    if (task.generates or task.graphs[1:]) and any(rung.recipe.activations for rung in target.rungs):
        return key, (
            f"has activations in int8 by fixed ranges, which is for encoders, and {task.name} is not done by one; leave "
            "activations out"
        )
    clients = {rung.recipe.format: FORMATS[rung.recipe.format].client for rung in target.rungs}
    blind = next((name for name, client in clients.items() if not client.activations), None)
    if gates.overflow and blind:
        return ("gates", "overflow"), (
            f"is about activations, and the client of format {blind} (target {target.name}) shows none; leave it out, or put "
            "that target in a manifest of its own"
        )
    return None


def _directory(room: ManifestDirectory, model: Model) -> Path | None:
    key = ("model", "source")
    if room.is_path(model.source):
        if room.source.written(("model", "revision")) is not None:
            raise room.source.error(("model", "revision"), "is for a Hub id; a directory has no revisions, remove it")
        return room.resolve(key, model.source)
    if model.source.startswith(("http://", "https://")):
        raise room.source.error(key, f"is the address {model.source}; write the Hub id, such as namespace/name")
    if problem := fault_of_id(model.source):
        raise room.source.error(key, f"{model.source!r} {problem}; a directory is written ./name")
    return None


def _destined(room: ManifestDirectory, publish: Publish) -> Publish:
    """Make the paths of destinations absolute. They may lie anywhere: a share is nobody's secret, nor read from."""
    to = []
    for number, address in enumerate(publish.to):
        kind, path = kind_of(address), path_of(address)
        to.append(f"{kind.name}:{room.real(('publish', 'to', number), path)}" if kind.path else address)
    return publish.model_copy(update={"to": tuple(to)})


def _apart(source: Source, manifest: Manifest) -> None:
    """Refuse an evaluation on the text a recipe was calibrated on."""
    calibration, evaluation = manifest.calibration, manifest.evaluation
    shared = next((path for path in evaluation.files if path in calibration.files), None)
    if shared:
        number = evaluation.files.index(shared)
        problem = f"{shared.name} is calibration text, too; evaluate on text that no recipe has read"
        raise source.error(("evaluation", "files", number), problem)
    same = ("source", "name", "split", "revision")
    if not evaluation.files and all(getattr(calibration, key) == getattr(evaluation, key) for key in same):
        problem = f"is the calibration text, too ({evaluation.where}); evaluate on another split"
        raise source.error(("evaluation", "split"), problem)


def _releasable(source: Source, manifest: Manifest) -> None:
    """Refuse release names that the Hub would refuse."""
    if problem := fault(manifest.publish.namespace):
        raise source.error(("publish", "namespace"), f"{manifest.publish.namespace!r} {problem}")
    name = manifest.model.name
    if problem := fault(name):
        key = ("model", "name") if source.written(("model", "name")) is not None else ("model", "source")
        advice = "" if key[1] == "name" else "; it names the releases, give model.name"
        raise source.error(key, f"{name!r} {problem}{advice}")
    for section, target in manifest.made:
        release = f"{name}-{target}"
        if problem := fault(release):
            advice = f"shorten it, or give model.name (the two have {MAX_LENGTH - 1} characters)"
            raise source.error((section, target), f"makes the release name {release!r}, which {problem}; {advice}")


__all__ = ["ManifestError", "load", "load_all"]
