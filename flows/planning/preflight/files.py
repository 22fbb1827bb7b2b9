"""Whether the files of a model directory are what their names say; nothing here asks what the model is."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from catalog import sentence_transformers as layout
from flows.files.headers import HeaderError, Tensor, shapes
from flows.planning.sources import PATTERNS, Original, files_of

_OBJECTS = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("generation_config.json", "chat_template.json", "preprocessor_config.json"),
)
"""Files that hold a JSON object when they are there."""
_POINTER = b"version https://git-lfs"
_SPECIAL = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)

State = tuple[tuple[str, int, int, int], ...]
"""Name, mode, size and modification time in ns of every file that is read: what answers depend on."""


@dataclass(frozen=True)
class Subject:
    """A model as far as it is here. Two are equal when what is read of them is."""

    where: str
    """For a person: the directory, or `id@commit`."""
    state: State
    directory: Path | None
    """None: a model of the Hub of which only headers and configuration are known."""
    tensors: Mapping[str, Tensor] = field(compare=False, repr=False)
    config: Mapping[str, Any] = field(compare=False, repr=False)
    task: str = "text-generation"
    """What it is asked to do."""


def state_of(directory: Path) -> State:
    """Return the state of a model directory. Raises OSError."""
    read = [entry for entry in directory.iterdir() if any(fnmatch(entry.name, pattern) for pattern in PATTERNS)]
    state = [(entry.name, *_mark(entry)) for entry in sorted(read)]
    inside = [path for path in files_of(directory) if path.parent != directory]
    return (*state, *((path.relative_to(directory).as_posix(), *_mark(path)) for path in inside))


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except (FileNotFoundError, OSError):  # a link that leads nowhere, or in a circle
        return (0, 0, 0)
    return (status.st_mode, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def problem(directory: Path, state: State) -> str | None:
    """Return why a directory holds no model, or None. Raises OSError for what cannot be read."""
    for name, mode, size, _ in state:
        if fault := _odd(directory / name, mode, size):
            return fault
    names = {name for name, *_ in state}
    if "config.json" not in names:
        return f"{directory} holds no config.json; name a directory that save_pretrained wrote"
    for name in ("config.json", *(name for name in _OBJECTS if name in names)):
        if fault := _no_object(directory / name):
            return fault
    if layout.LIST in names and (fault := _unlike_sentence_transformers(directory)):
        return fault
    try:
        shapes(directory)
    except HeaderError as error:
        return str(error)
    return None


def _odd(path: Path, mode: int, size: int) -> str | None:
    if not mode:
        return f"{path} is a link that leads nowhere; bring the file that it means, or remove it"
    if kind := next((words for is_kind, words in _SPECIAL if is_kind(mode)), None):
        return f"{path} is {kind}, and a file is expected; put the file there, or remove it"
    if size < 1024 and path.read_bytes().startswith(_POINTER):
        return f"{path} is a pointer of Git LFS in place of the file; fetch the files themselves (git lfs pull)"
    return None


def _unlike_sentence_transformers(directory: Path) -> str | None:
    """Whether modules.json is a list of modules that are there."""
    try:
        modules = layout.modules(directory) or ()
    except (ValueError, LookupError, TypeError, RecursionError):
        return f"{directory / layout.LIST} is no list of modules with type and path; fetch or save the model again"
    # Normalizing takes no settings, and many models have no directory for it.
    lost = [m.path for m in modules if m.kind != "Normalize" and not (directory / m.path).is_dir()]
    return f"{directory / layout.LIST} names {lost[0]}, which is not there; fetch the model again" if lost else None


def _no_object(path: Path) -> str | None:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        return f"{path} is not JSON ({error}); fetch or save the model again"
    if not isinstance(document, dict):
        return f"{path} is not a mapping, and holds a {type(document).__name__}; fetch or save the model again"
    return None


@lru_cache(maxsize=1024)
def local(directory: Path, state: State) -> Subject:
    """Return the model in a directory that has no `problem`."""
    config = json.loads((directory / "config.json").read_bytes())
    return Subject(str(directory), state, directory, shapes(directory), config)


def remote(original: Original) -> Subject:
    """Return a model of the Hub of which only headers and configuration are known."""
    return Subject(f"{original.id}@{original.revision[:12]}", (), None, original.tensors, original.config)
