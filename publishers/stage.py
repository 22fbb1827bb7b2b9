"""From artifact to release: a read-only directory that holds exactly what will be published, checked file by file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from catalog.formats import ADAPTER
from publishers.card import adapter
from publishers.card.card_evidence import read_verdict, without_timings
from publishers.card.license import notices, read_license
from publishers.card.render import CARD, render
from publishers.contents import check_path, check_release
from publishers.errors import PublishError
from publishers.files import copy_hashed, sha256_of, write_new
from publishers.progress import progress
from publishers.provenance import PROVENANCE, File, Provenance, content_id, of_subject
from publishers.request import Subject


@dataclass(frozen=True)
class Staged:
    """A release that is complete and has not left yet."""

    name: str
    directory: Path
    files: dict[str, File]
    """Every file in `directory`."""
    provenance: Provenance

    @property
    def commit(self) -> str:
        """Id of the content: equal files have equal ids."""
        return content_id({path: file.sha256 for path, file in self.files.items()})


def stage(subject: Subject, directory: Path, home: Path) -> Staged:
    """Copy the artifact into the new `directory`, add licence files, card and provenance, and check all of it.

    Raises:
        PublishError: the verdict is not `passed`, a file differs from what its record says, or something in it must not
            be released.
    """
    _check_name(subject.name)
    read_verdict(subject.verdict)
    _check_listing(subject)
    subject = subject.model_copy(update={"verdict": without_timings(subject.verdict)})
    directory.mkdir(parents=True)
    private = tuple(
        d.resolve() for d in (home, subject.artifact, subject.source.directory) if len(d.resolve().parts) > 2
    )
    files: dict[str, File] = {}
    for done, (path, expected) in enumerate(sorted(subject.files.items())):
        progress(f"stage {path}", done, len(subject.files))
        files[path] = _take(subject.artifact / path, directory / path, expected, path)
    for notice in notices(subject.source.directory):
        if notice.name not in files:
            files[notice.name] = _file(directory / notice.name, copy_hashed(notice, directory / notice.name))
    written = adapter.render if subject.format == ADAPTER.name else render
    card = written(subject, read_license(subject.source.directory), files)
    files[CARD] = _write(directory / CARD, card)
    provenance = of_subject(subject, files)
    files[PROVENANCE] = _write(directory / PROVENANCE, _to_json(provenance))
    check_release(directory, files, provenance, private)
    return Staged(subject.name, directory, files, provenance)


def _check_name(name: str) -> None:
    try:
        validate_repo_id(name)
        # The client lets letters of every alphabet through; the Hub does not.
        if name.count("/") != 1 or not name.isascii():
            raise HFValidationError("it is not of two ASCII parts")
    except HFValidationError as error:
        raise PublishError(
            f"{name!r} is not a name that a hub takes ({error}): a release is called namespace/model-target, each part of "
            "letters, digits, dots, dashes and underscores. Change the manifest's namespace, model or target name."
        ) from error


def _check_listing(subject: Subject) -> None:
    """The artifact's directory holds the recorded files, all of them regular, and nothing else."""
    entries = [path for path in subject.artifact.rglob("*") if path.is_symlink() or not path.is_dir()]
    paths = {path.relative_to(subject.artifact).as_posix(): path for path in entries}
    for path in sorted(paths):
        check_path(path, subject.format)
        if paths[path].is_symlink() or not paths[path].is_file():
            raise PublishError(
                f"The artifact holds {path}, which is not a regular file: write its content there instead."
            )
    if paths.keys() != subject.files.keys():
        missing, extra = sorted(subject.files.keys() - paths.keys()), sorted(paths.keys() - subject.files.keys())
        raise PublishError(
            f"The artifact of {subject.name} is not what was built and measured: "
            f"missing {', '.join(missing) or 'nothing'}, unknown {', '.join(extra) or 'nothing'}. Build it again."
        )
    for reserved in (CARD, PROVENANCE):
        if reserved in paths:
            raise PublishError(f"The artifact holds {reserved}, which publishing writes: leave it out of the artifact.")


def _take(source: Path, target: Path, expected: str, path: str) -> File:
    target.parent.mkdir(parents=True, exist_ok=True)
    copied = copy_hashed(source, target)
    if copied != expected:
        raise PublishError(
            f"The artifact's {path} has SHA-256 {copied[:12]}…, but {expected[:12]}… was built and measured: the file was "
            "changed or damaged since. Build the artifact again."
        )
    return _file(target, copied)


def _write(path: Path, text: str) -> File:
    write_new(path, text.encode())
    return _file(path, sha256_of(path))


def _file(path: Path, sha256: str) -> File:
    return File(sha256=sha256, size=path.stat().st_size)


def _to_json(provenance: Provenance) -> str:
    untold = {name for name in ("draft", "equal", "instructions") if getattr(provenance, name) is None}
    document = provenance.model_dump(mode="json", exclude=untold)
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
