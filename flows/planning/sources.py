"""Pin what a manifest names: models and data sets to commits, directories and files to content hashes."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog import sentence_transformers as layout
from catalog.tasks import TASKS
from flows.files.cache import keep, kept
from flows.files.documents import besides
from flows.files.fingerprint import ContentHashes, fingerprint
from flows.files.headers import Tensor, shapes
from flows.manifest.model import Manifest
from flows.manifest.texts import Texts
from flows.planning.hub import Headers, SourceError, ask_hub, headers, resolve
from flows.planning.kinds import FETCH, Fetched
from flows.step import Step
from flows.store import Store
from publishers.destinations.client import is_offline

# What a model consists of: everything a stock loader or a card reads, no pickles, no code.
PATTERNS = (
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.model",
    "*.jinja",
    "*.md",
    "LICENSE*",
    "LICENCE*",
    "NOTICE*",
    "COPYING*",
    "COPYRIGHT*",
    "USE_POLICY*",
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Original:
    """A model pinned to content."""

    name: str
    id: str | None
    """Hub id; None for a directory."""
    revision: str
    """40-hex commit, or `sha256:…` over the directory's contents."""
    directory: Path | None
    """Where the files are; None: not fetched yet."""
    tensors: dict[str, Tensor] = field(hash=False, repr=False)
    config: dict[str, Any] = field(hash=False, repr=False)
    task: str = "text-generation"
    """What it is asked to do."""

    @property
    def identity(self) -> dict[str, str | None]:
        """What of it goes into keys."""
        # Stores of the time when there was one task keep what they hold.
        task = {} if self.task == "text-generation" else {"task": self.task}
        return {"id": self.id, "revision": self.revision, **task}

    @property
    def fetch(self) -> Step[Fetched]:
        """Bringing it here from the Hub."""
        assert self.id, "a directory is here already"
        return fetching(self.id, self.revision)

    @property
    def bytes(self) -> int:
        """Size of the weights."""
        return sum(tensor.bytes for tensor in self.tensors.values())


def files_of(directory: Path) -> list[Path]:
    """Return what a model in a directory consists of, sorted."""
    files = {path for pattern in PATTERNS for path in directory.glob(pattern) if path.is_file()}
    with suppress(ValueError, LookupError, TypeError):  # planning tells of a list that cannot be read
        files.update(layout.files(directory))
    return sorted(files)


def fetching(source: str, commit: str) -> Step[Fetched]:
    """Return the step that brings a model of the Hub here."""
    return FETCH.step({"model": {"id": source, "revision": commit}})


def beside(manifest: Manifest, path: str) -> Path:
    """Return where a file or directory that a gate names is: relative to the manifest."""
    return (manifest.path.parent / path).absolute()


class Sources:
    """Resolves names once per process; `HOME/sources` is a cache in the layout of huggingface_hub."""

    def __init__(self, store: Store, hashes: ContentHashes) -> None:
        self.store = store
        self.home = store.home
        self.hashes = hashes
        self._originals: dict[tuple[Any, ...], Original] = {}
        self._commits: dict[tuple[str, str, str], str] = {}

    def original(self, manifest: Manifest) -> Original:
        """Pin the manifest's model. Raises SourceError when the Hub does not know it, HubError when it cannot be reached."""
        model = manifest.model
        key = (model.source if manifest.directory is None else manifest.directory, model.revision, model.name)
        if key not in self._originals:
            make = self._from_hub if manifest.directory is None else self._from_directory
            self._originals[key] = make(manifest)
        return self._originals[key]

    def rows(self, manifest: Manifest) -> dict[str, Any]:
        """Return the identity of the rows of evaluation: what of it goes into keys."""
        return self._rows(manifest.model.task, manifest.evaluation, manifest.columns)

    def calibration(self, manifest: Manifest) -> dict[str, Any]:
        """Return the identity of the rows of calibration."""
        return self._rows(manifest.model.task, manifest.calibration, manifest.calibrated)

    def _rows(self, task: str, texts: Texts, columns: dict[str, str]) -> dict[str, Any]:
        identity = self.texts(texts)
        # Of texts alone the key says all.
        if list(columns) == ["text"]:
            return identity
        named = self._beside(task, texts, columns)
        return {**identity, "columns": columns, **({"beside": named} if named else {})}

    def _beside(self, task: str, texts: Texts, keys: dict[str, str]) -> str | None:
        """Return one hash over names and contents of the files that local rows name. Raises DocumentError."""
        columns = {column.name: column for column in TASKS[task].columns}
        read = [(columns[name], key) for name, key in keys.items()]
        named = {
            f"{number}/{each.name}": self.hashes.file(each.path)
            for number, path in enumerate(texts.files)
            for _, each in besides(path, read)
            if each.path
        }
        return fingerprint(named) if named else None

    def texts(self, texts: Texts) -> dict[str, Any]:
        """Return the identity of a set of documents: what of it goes into keys."""
        if texts.files:
            return {"files": [[path.suffix, self.hashes.file(path)] for path in texts.files], "column": texts.column}
        assert texts.source
        commit = self.commit("dataset", texts.source, texts.revision or "main")
        return {
            "id": texts.source,
            "revision": commit,
            "name": texts.name,
            "split": texts.split,
            "column": texts.column,
        }

    def tasks(self, manifest: Manifest) -> list[dict[str, Any]]:
        """Return what of the manifest's tasks goes into keys: a local task by the contents of its directory.

        Raises SourceError for a task file that is not there.
        """
        rows: list[dict[str, Any]] = []
        for name, task in sorted(manifest.gates.tasks.items()):
            row = {"name": name, **task.configuration().model_dump(mode="json")}
            if task.file is not None:
                path = beside(manifest, task.file)
                where = f"{manifest.path}: gates.tasks.{name}.file: {task.file}"
                if not path.is_file():
                    raise SourceError(f"{where} does not exist")
                if manifest.path.parent not in path.resolve().parents or path.parent == manifest.path.parent:
                    raise SourceError(
                        f"{where}: put the task and its items into a directory of their own below the manifest's"
                    )
                around = sorted(item for item in path.parent.rglob("*") if item.is_file())
                row["file"] = [path.name, self.hashes.tree(path.parent, around)]
            rows.append(row)
        return rows

    def measured(self, manifest: Manifest) -> dict[str, dict[str, Any]]:
        """Return what goes into keys of what is measured for single gates: a directory that one names by its contents.

        Raises SourceError for a directory that is not there.
        """
        rows = {}
        for name, gate in manifest.gates.measured().items():
            rows[name] = gate.configuration()
            for key in gate.directories:
                path = beside(manifest, rows[name][key])
                files = sorted(item for item in path.rglob("*") if item.is_file())
                if not files:
                    raise SourceError(f"{manifest.path}: gates.{name}.{key}: {rows[name][key]} holds no file")
                rows[name][key] = self.hashes.tree(path, files)
        return rows

    def commit(self, kind: str, source: str, revision: str) -> str:
        """Return the 40-hex commit a branch or tag of the Hub points at; offline, the one it pointed at last time."""
        if _COMMIT.fullmatch(revision):
            return revision
        key = (kind, source, revision)
        if key not in self._commits:
            self._commits[key] = self._ask(kind, source, revision)
        return self._commits[key]

    def _ask(self, kind: str, source: str, revision: str) -> str:
        memory = self.home / "cache" / "refs" / kind / source / f"{revision.replace('/', '%2F')}.json"
        if is_offline():
            before = kept(memory, str)
            if before and _COMMIT.fullmatch(before):
                return before
            raise SourceError(
                f"{kind} {source}@{revision} was never resolved here and HF_HUB_OFFLINE is set: unset it once, name a "
                "40-hex commit, or point the manifest at a local directory"
            )
        sha = ask_hub(f"{kind} {source}@{revision}", lambda: resolve(kind, source, revision))
        keep(memory, sha)
        return sha

    def _from_directory(self, manifest: Manifest) -> Original:
        directory = manifest.directory
        assert directory is not None
        revision = f"sha256:{self.hashes.tree(directory, files_of(directory))}"
        config = json.loads((directory / "config.json").read_bytes())
        return Original(manifest.model.name, None, revision, directory, shapes(directory), config, manifest.model.task)

    def _from_hub(self, manifest: Manifest) -> Original:
        source = manifest.model.source
        commit = self.commit("model", source, manifest.model.revision)
        snapshot = self.snapshot(source, commit)
        if snapshot is not None:
            config = json.loads((snapshot / "config.json").read_bytes())
            return Original(
                manifest.model.name, source, commit, snapshot, shapes(snapshot), config, manifest.model.task
            )
        tensors, config = self._remote_headers(source, commit)
        return Original(manifest.model.name, source, commit, None, tensors, config, manifest.model.task)

    def snapshot(self, source: str, commit: str) -> Path | None:
        """Return the directory of a fetched model, or None."""
        path = self.home / "sources" / f"models--{source.replace('/', '--')}" / "snapshots" / commit
        # The directory alone says nothing: a fetch that was killed leaves one that is not whole.
        return path if (path / "config.json").exists() and self.store.complete(fetching(source, commit)) else None

    def _remote_headers(self, source: str, commit: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        memory = self.home / "cache" / "headers" / source / f"{commit}.json"
        known = kept(memory, Headers)
        if known is None:
            known = ask_hub(f"the headers of {source}@{commit}", lambda: headers(source, commit))
            keep(memory, known)
        tensors = {name: Tensor(dtype, shape, size) for name, (dtype, shape, size) in known.tensors.items()}
        return tensors, known.config
