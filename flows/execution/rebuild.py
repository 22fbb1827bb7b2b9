"""Make the artifact of a release once more, from what its records say, and compare it byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from catalog.interpreters import engines_of
from flows.errors import UsageError
from flows.execution import child
from flows.execution.lock import heavy
from flows.execution.progress import watcher
from flows.files.fingerprint import file_sha256
from flows.planning.kinds import QUANTIZE, VERDICT, Artifact
from flows.planning.sources import files_of
from flows.step import Entry
from flows.store import Record, Store
from publishers.destinations.destination import open_destination
from quantizers.families.found import differences
from quantizers.request import Request, Result


@dataclass(frozen=True)
class Rebuilt:
    """What came of it."""

    release: str
    version: str
    files: int
    differing: tuple[str, ...]
    """Files that are not what the release holds; none when it is reproduced."""
    tools: tuple[str, ...]
    """Libraries whose version, and instructions whose set, is not the one that the release was made with."""
    found: tuple[str, ...] = ()
    """What is found otherwise, in a model without a table, than when the release was made."""


def rebuild(store: Store, name: str, version: str | None) -> Rebuilt:
    """Quantize again by the recorded request and compare every file. Raises UsageError when the records are not here."""
    local = open_destination("local", store.home)
    release = local.find(name, version)
    provenance = local.provenance(release)
    verdict = store.record(VERDICT.at(provenance.key))
    step = QUANTIZE.at(verdict.inputs["artifact"] if verdict else "")
    artifact = store.record(step)
    if artifact is None:
        raise UsageError(
            f"{name}@{release.version} was not made in the store {store.home}, or its records were removed: its card says how "
            "to make it again from a manifest"
        )
    with made_again(store, step, artifact, f"{name}@{release.version}: make it again") as (made, result):
        remade = {str(path.relative_to(made)): file_sha256(path) for path in made.rglob("*") if path.is_file()}
    held = {path: provenance.files[path].sha256 for path in artifact.files}
    differing = tuple(sorted(path for path in remade.keys() | held.keys() if remade.get(path) != held.get(path)))
    before, now = ({"compute": made.compute, **made.tools} for made in (artifact.result, result))
    tools = tuple(
        f"{tool} {before[tool]} → {now[tool]}" for tool in sorted(now) if before.get(tool, now[tool]) != now[tool]
    )
    then, again = artifact.result.found, result.targets["0"].found
    otherwise = tuple(differences(then, again)) if then and again else ()
    return Rebuilt(name, release.version, len(held), differing, tools, otherwise)


@contextmanager
def made_again(
    store: Store, step: Entry[Artifact], artifact: Record[Artifact], label: str
) -> Iterator[tuple[Path, Result]]:
    """Quantize again as the record of an artifact says; yield where it is, for as long as it is looked at, and the report.

    Raises UsageError when the request or the model is not here as it was.
    """
    try:
        request = Request.model_validate_json((store.directory(step) / "request.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise UsageError(f"{store.directory(step)} lost its request: run the manifest again to make it anew") from error
    _same_model(request.model, artifact, store)
    with TemporaryDirectory(dir=store.home, prefix="rebuild-") as scratch, heavy(store, label):
        (Path(scratch) / "out").mkdir()
        tell = watcher()
        tell.started(label)
        calibration = request.calibration
        if calibration:
            dtype = artifact.result.compute.partition(",")[0]
            calibration = calibration.model_copy(update={"compute": dtype})
        targets = {"0": request.targets[artifact.result.place]}
        # What it went by is collected anew: it may be gone, and is part of what is checked.
        request = request.model_copy(update={"targets": targets, "calibration": calibration, "statistics": None})
        try:
            ended = child.run(
                "quantizers",
                request,
                Path(scratch),
                progress=lambda *event: tell.moved(label, *event),
                engines=engines_of(store.home),
                imports=True,
            )
        except BaseException as error:
            tell.ended(label, str(error), ok=False)
            raise
        tell.ended(label, f"{ended.seconds:.1f} s", ok=True)
        result = Result.model_validate_json((Path(scratch) / "out" / "result.json").read_bytes())
        yield Path(scratch) / "out" / "0", result


def _same_model(directory: Path, artifact: Record[Artifact], store: Store) -> None:
    """A model directory is pinned by content: what is there now must be what was read then."""
    revision = artifact.inputs["model"]["revision"]
    if not revision.startswith("sha256:"):
        return
    files = files_of(directory)
    if f"sha256:{store.hashes.tree(directory, files)}" != revision:
        raise UsageError(f"the model in {directory} is no longer the one that was read ({revision}); put that one back")
