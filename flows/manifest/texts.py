"""Documents that a manifest names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

WIKITEXT = {"source": "Salesforce/wikitext", "name": "wikitext-2-raw-v1"}


def as_tuple(value: Any) -> Any:
    """Read `to: hub` as `to: [hub]`; a tuple, which strict validation accepts where a list is refused."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class Part(BaseModel):
    """A part of a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Texts(Part):
    """Documents: the rows of one split of a Hub data set, or of local files."""

    source: str | None = None
    """Hub id of a data set. Default, when there are no files either: Salesforce/wikitext, wikitext-2-raw-v1."""
    name: str | None = None
    """Configuration of the data set, such as `wikitext-2-raw-v1`."""
    split: str | None = None
    """Split of the data set, such as `train` or `test[:10%]`. Default: train to calibrate, test to evaluate."""
    revision: str | None = None
    """Branch, tag or commit of the data set. Default: main."""
    files: Annotated[tuple[Path, ...], BeforeValidator(as_tuple, json_schema_input_type=str | list[str])] = ()
    """Local files relative to the manifest, absolute once loaded: .jsonl, .json, .parquet (rows), .txt (paragraphs)."""
    column: str = Field("text", min_length=1)
    """Key of a row that holds the text."""

    @property
    def where(self) -> str:
        """One line for a person: the data set with its split, or the files' names."""
        if self.files:
            return ", ".join(path.name for path in self.files)
        return " ".join(part for part in (self.source, self.name, self.split) if part)


class Rows(Texts):
    """The same of what a task reads: besides texts, files that rows name, and what is said of these."""

    columns: dict[str, str] = Field({})
    """Keys of a row that hold what else the task reads, by the task's name for it, such as `label: stars`. Default: its name."""

    def __hash__(self) -> int:
        return hash(repr(self))


def filled(data: Any, split: str) -> Any:
    """Fill in a Hub data set's defaults; refuse a mix of data set and files."""
    if not isinstance(data, dict):
        return data
    if "files" in data:
        mixed = [key for key in ("source", "name", "split", "revision") if data.get(key) is not None]
        if mixed:
            raise ValueError(f"{mixed[0]} names a Hub data set and files name local ones: give one or the other")
        if data["files"] in ([], ()):
            raise ValueError("files is empty: list at least one file, or name a Hub data set with source")
        return data
    if data.get("source") is None:
        if data.get("name") is not None:
            raise ValueError("name is a configuration of a data set: say of which with source")
        data = {**data, **WIKITEXT}
    return data if data.get("split") is not None else {**data, "split": split}
