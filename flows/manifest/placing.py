"""Where the texts are that a manifest names."""

from __future__ import annotations

from typing import TypeVar

from catalog.task import Column
from flows.files.documents import READERS
from flows.manifest.directory import ManifestDirectory
from flows.manifest.errors import choices, nearest
from flows.manifest.names import fault_of_id
from flows.manifest.texts import Texts
from flows.manifest.yaml_source import Key

T = TypeVar("T", bound=Texts)

SUFFIXES = tuple(READERS)


def read_by(column: Column, texts: T) -> T:
    """Return texts with the key that a column is under, when none is written."""
    if "column" in texts.model_fields_set:
        return texts
    return texts.model_copy(update={"column": column.name})


def placed(room: ManifestDirectory, section: Key, texts: T) -> T:
    """Return texts with their files absolute. Raises ManifestError."""
    if not texts.files:
        if texts.source and (problem := fault_of_id(texts.source)):
            raise room.source.error((*section, "source"), f"{texts.source!r} {problem}; local documents go into files")
        return texts
    paths = []
    for number, file in enumerate(texts.files):
        key = (*section, "files", number)
        if file.suffix not in SUFFIXES:
            raise room.source.error(key, f"is {str(file)!r}{choices(SUFFIXES)}{nearest(file.suffix, SUFFIXES)}")
        path = room.resolve(key, str(file))
        if path in paths:
            raise room.source.error(key, f"{file} is listed twice; its documents would count twice")
        paths.append(path)
    return texts.model_copy(update={"files": tuple(paths)})
