"""Make the artifact of a release once more, from what its records say, and compare it byte for byte."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.errors import UsageError
from flows.execution import child
from flows.execution.progress import watcher
from flows.files.fingerprint import ContentHashes, file_sha256
from flows.planning.sources import PATTERNS
from flows.store import Record, Store
from publishers.destinations.local import find


@dataclass(frozen=True)
class Rebuilt:
    """What came of it."""

    release: str
    version: str
    files: int
    differing: tuple[str, ...]
    """Files that are not what the release holds; none when it is reproduced."""
    tools: tuple[str, ...]
    """Libraries whose version is not the one the release was made with."""


def rebuild(store: Store, name: str, version: str | None) -> Rebuilt:
    """Quantize again by the recorded request and compare every file. Raises UsageError when the records are not here."""
    release = find(store.home, name, version)
    verdict = store.record("verdict", release.provenance.key)
    artifact = verdict and store.record("quantize", verdict.inputs["artifact"])
    if artifact is None:
        raise UsageError(
            f"{name}@{release.version} was not made in the store {store.home}, or its records were removed: its card says how "
            "to make it again from a manifest"
        )
    request = json.loads((store.entry("quantize", artifact.key) / "request.json").read_bytes())
    _same_model(Path(request["model"]), artifact, store)
    label = f"{name}@{release.version}: make it again"
    with TemporaryDirectory(dir=store.home, prefix="rebuild-") as scratch, store.heavy():
        (Path(scratch) / "out").mkdir()
        tell = watcher()
        tell.started(label)
        request["targets"] = {"0": request["targets"][artifact.result["place"]]}
        ended = child.run("quantizers", request, Path(scratch), progress=lambda *event: tell.moved(label, *event))
        tell.ended(label, f"{ended.seconds:.1f} s", ok=True)
        made = Path(scratch) / "out" / "0"
        found = {str(path.relative_to(made)): file_sha256(path) for path in made.rglob("*") if path.is_file()}
        result = json.loads((Path(scratch) / "out" / "result.json").read_bytes())
    held = {path: release.provenance.files[path].sha256 for path in artifact.files}
    differing = tuple(sorted(path for path in found.keys() | held.keys() if found.get(path) != held.get(path)))
    before, now = artifact.result["tools"], result["tools"]
    tools = tuple(
        f"{tool} {before[tool]} → {now[tool]}" for tool in sorted(now) if before.get(tool, now[tool]) != now[tool]
    )
    return Rebuilt(name, release.version, len(held), differing, tools)


def _same_model(directory: Path, artifact: Record, store: Store) -> None:
    """A model directory is pinned by content: what is there now must be what was read then."""
    revision = artifact.inputs["model"]["revision"]
    if not revision.startswith("sha256:"):
        return
    files = sorted({path for pattern in PATTERNS for path in directory.glob(pattern) if path.is_file()})
    if f"sha256:{ContentHashes(store.home / 'cache' / 'hashes.json').tree(directory, files)}" != revision:
        raise UsageError(f"the model in {directory} is no longer the one that was read ({revision}); put that one back")
