"""Make one model of an adapter's release and of its base's, to be quantized as any other."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from adapters.request import Merged, MergeRequest
from catalog.formats import ADAPTER
from flows.errors import UsageError
from flows.execution import child
from flows.execution.lock import heavy
from flows.execution.progress import watcher
from flows.store import Store
from publishers.card.license import notices
from publishers.destinations.local import Local
from publishers.pull import pull


def merge(store: Store, name: str, version: str | None, to: Path) -> Merged:
    """Write the merged model into the new directory `to`; both releases are checked, every hash, before they are read.

    Raises UsageError for a release that is no adapter or a directory that is taken, PublishError for one that is damaged.
    """
    if to.exists():
        raise UsageError(f"{to} is there already, and a merge replaces nothing: name a new directory")
    local = Local("", store.home)
    provenance = local.provenance(local.find(name, version))
    if provenance.format != ADAPTER.name or not provenance.source.id:
        raise UsageError(
            f"{name} is no adapter, but a model in format {provenance.format}: merge what `adapters:` made"
        )
    adapter, base_name = pull(local, name, version), provenance.source.id
    commit = provenance.source.revision
    known = next((each for each in local.versions(base_name) if each.commit == commit), None)
    if known is None:
        raise UsageError(
            f"{name} is for {base_name} at {commit[:12]}…, which the local hub does not hold: release that again"
        )
    base = pull(local, base_name, known.version).directory
    label = f"{name}: merging"
    to.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as scratch, heavy(store, label):
        (Path(scratch) / "out").mkdir()
        tell, request = watcher(), MergeRequest(base=base, adapter=adapter.directory)
        tell.started(label)
        try:
            ended = child.run("adapters", request, Path(scratch), progress=lambda *event: tell.moved(label, *event))
        except BaseException as error:
            tell.ended(label, str(error), ok=False)
            raise
        tell.ended(label, f"{ended.seconds:.1f} s", ok=True)
        merged = Merged.model_validate_json((Path(scratch) / "out" / "result.json").read_bytes())
        for notice in notices(base):
            shutil.copy(notice, Path(scratch) / "out/merged")
        (Path(scratch) / "out/merged").rename(to)
    return merged
