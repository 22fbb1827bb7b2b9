"""What a release may hold, whoever hands it over: no code, no pickle, no failed verdict, nothing that tells where it was made.

Publishing and fetching apply the same rules: what must not leave must not come in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from catalog.format import PLAIN
from catalog.formats import RELEASED
from publishers.card.card_evidence import read_verdict
from publishers.errors import PublishError
from publishers.metadata import METADATA
from publishers.provenance import Provenance

NOTICES = re.compile(r"(LICEN[CS]E|NOTICE|COPYING|COPYRIGHT|USE_POLICY)([._-][A-Za-z0-9._-]*)?\Z", re.IGNORECASE)
PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z")
HOMES = re.compile(r"(?<![\w.])(/home/|/root/|/Users/|[A-Za-z]:\\+Users\\+)[^\s\"'<>]+")

LEARNED: dict[str, tuple[str, ...]] = {
    "tokenizer.json": ("model",),
    "vocab.json": (),
    "added_tokens.json": (),
    "quantmill.json": ("evidence", "samples"),
}
"""File → place below which its text was learned from data or generated: a `/home/` there says nothing of this machine."""


def check_release(directory: Path, files: Iterable[str], provenance: Provenance, private: Iterable[Path] = ()) -> None:
    """Refuse a release for any file that must not be in one, or for a verdict that did not pass.

    `files` are the paths below `directory`; `private` are directories of this machine that no released text may mention.

    Raises:
        PublishError: naming what and where.
    """
    read_verdict(provenance.verdict)
    for path in sorted(files):
        check_path(path, provenance.format)
        check_content(directory / path, path, private)


def check_path(path: str, format_: str | None) -> None:
    """Refuse a path whose form or kind has no place in a release of a format, or, where it is not known yet, of any.

    Raises:
        PublishError: naming the path and the rule.
    """
    name = PurePosixPath(path).name
    if not PATH.match(path):
        raise PublishError(
            f"It holds {path!r}: a release's paths are relative, without hidden or parent parts, of letters, "
            "digits, dots, dashes and underscores. Rename it in the step that wrote it."
        )
    if NOTICES.match(name) and PurePosixPath(name).suffix in ("", ".txt", ".md"):
        return
    rows = RELEASED.values() if format_ is None else (RELEASED[format_],)
    if not any(row.takes(name) for row in rows):
        own = [f"in format {row.name} {', '.join(row.binaries)}" for row in rows if row.binaries]
        raise PublishError(
            f"It holds {path}, a kind of file that is never released: a loader could execute it, or nobody "
            f"can check it. Allowed are {', '.join((*sorted(PLAIN), 'licence and notice files', *own))}. "
            "Save the artifact in one of those."
        )


def check_content(path: Path, name: str, private: Iterable[Path]) -> None:
    """Refuse content that runs code, names this machine, or is not what its suffix says.

    `private` are directories of this machine that no released text may mention.

    Raises:
        PublishError: naming the file, the place in it and the rule.
    """
    suffix = PurePosixPath(name).suffix
    if suffix in METADATA:
        _check_values(name, METADATA[suffix](path, name), private)
    elif suffix == ".json":
        _check_json(path, name, private)
    elif suffix in (".xml", ".jinja"):
        _check_text(name, "its text", path.read_text(encoding="utf-8", errors="replace"), private)


def _check_json(path: Path, name: str, private: Iterable[Path]) -> None:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise PublishError(
            f"Its {name} is not JSON ({error}): the step that wrote it was cut short; run it again."
        ) from error
    _check_values(name, document, private, LEARNED.get(PurePosixPath(name).name))


def _check_values(name: str, document: Any, private: Iterable[Path], learned: tuple[str, ...] | None = None) -> None:
    for keys, value in _walk(document, (), learned):
        key = keys[-1] if keys else ""
        if key == "auto_map" and value:
            raise PublishError(
                f"Its {name} has auto_map: a loader that trusts it runs code from the repository, and a "
                "release carries none. Use a model whose architecture transformers knows, and drop the key."
            )
        if key == "_name_or_path" and value:
            raise PublishError(
                f"Its {name} has {'.'.join(keys)}: {value!r}, which tells where the model was read from. "
                "Drop the key in the step that wrote it; the provenance record names the source."
            )
        if isinstance(value, str):
            _check_text(name, ".".join(keys) or "its text", value, private)


def _check_text(name: str, where: str, text: str, private: Iterable[Path]) -> None:
    match = HOMES.search(text)
    mention = match.group(0) if match else next((str(d) for d in private if f"{d}/" in f"{text}/"), None)
    if mention is not None:
        raise PublishError(
            f"Its {name} mentions {mention} (in {where}), a path of this machine: it would tell strangers who "
            "made it and where, and mean nothing to them. Remove it from what the request or the artifact says."
        )


def _walk(value: Any, keys: tuple[str, ...], left_out: tuple[str, ...] | None) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value of a JSON document with its place, containers first, but for what lies at `left_out`."""
    if keys == left_out:
        return
    yield keys, value
    members: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        members = ((str(key), member) for key, member in value.items())
    elif isinstance(value, list):
        members = ((str(index), member) for index, member in enumerate(value))
    for key, member in members:
        yield from _walk(member, (*keys, key), left_out)
