"""Bring what a manifest names onto this machine: `python -m flows.execution.fetch REQUEST.json OUT_DIR`.

`model` fetches a snapshot of a Hub model at a commit; `texts` writes rows of a data set or of local files as
`OUT_DIR/documents.jsonl`, one object per line, with the key `text` or those of a task, and the files that they name beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from catalog.task import TEXT, Column
from catalog.tasks import TASKS, TaskName
from flows.errors import DocumentError, FetchError
from flows.files.beside import Beside
from flows.files.documents import picked, rows
from flows.planning.hub import ask_hub
from flows.planning.kinds import Documents, Fetched
from flows.planning.sources import PATTERNS
from publishers.destinations.client import apply_hub_settings


class Request(BaseModel):
    """What to fetch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: Literal["model", "texts"]
    source: str | None = None
    """Hub id of the model or data set."""
    revision: str | None = None
    """40-hex commit."""
    name: str | None = None
    """Configuration of the data set."""
    split: str | None = None
    files: tuple[Path, ...] = ()
    column: str = "text"
    columns: dict[str, str] | None = None
    """Of rows of evaluation: the task's name for each value to the key that it is under; None: texts alone."""
    task: TaskName = "text-generation"
    """Whose rows these are."""
    cache: Path
    """Cache directory, in the layout of huggingface_hub."""


def fetch_model(request: Request) -> Fetched:
    """Download a snapshot; return where it is. Raises SourceError or HubError."""
    source, revision = request.source, request.revision
    assert source

    def download() -> str:
        from huggingface_hub import snapshot_download

        return snapshot_download(source, revision=revision, cache_dir=request.cache, allow_patterns=list(PATTERNS))

    directory = ask_hub(f"the files of {source}@{revision}", download, delays=())  # the flow tries again
    return Fetched(directory=Path(directory))


def fetch_texts(request: Request, out: Path) -> Documents:
    """Write the documents. Raises FetchError when there are none, or a row has no text in the column."""
    count = characters = 0
    try:
        with (out / "documents.jsonl").open("w", encoding="utf-8") as file:
            for row in _rows(request):
                characters += sum(len(value) for value in row.values() if isinstance(value, str))
                here = {name: each.bring(out) if isinstance(each, Beside) else each for name, each in row.items()}
                file.write(json.dumps(here, ensure_ascii=False) + "\n")
                count += 1
    except DocumentError as error:
        raise FetchError(str(error)) from error
    if count == 0:
        raise FetchError(f"{_where(request)} holds no document with text in column {request.column!r}")
    return Documents(documents=count, characters=characters)


def _rows(request: Request) -> Iterator[dict[str, Any]]:
    named = request.columns or {"text": request.column}
    known = {column.name: column for column in TASKS[request.task].columns}
    columns = [(known.get(name, TEXT), key) for name, key in named.items()]
    for path in request.files:
        yield from rows(path, columns)
    if not request.files:
        yield from _from_hub(request, columns)


def _from_hub(request: Request, columns: Sequence[tuple[Column, str]]) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    loaded: Any = load_dataset(
        request.source, request.name, split=request.split, revision=request.revision, cache_dir=str(request.cache)
    )
    for column, key in columns:
        feature = loaded.features.get(key)
        if column.is_file and hasattr(feature, "decode"):
            # As it is in the data set: decoding sounds takes packages that nothing else needs.
            loaded = loaded.cast_column(key, type(feature)(decode=False))
    (first, key), *_ = columns
    for number, row in enumerate(loaded, 1):
        if first.kind == "text" and not isinstance(row.get(key), str):
            has = ", ".join(sorted(row))
            raise FetchError(f"{_where(request)}: row {number} has no text in column {key!r}; it has {has}")
        values = picked(row, columns, f"{_where(request)}: row {number}")
        if first.kind != "text" or values[first.name].strip():
            yield values


def _where(request: Request) -> str:
    return ", ".join(map(str, request.files)) or f"{request.source} {request.name or ''} {request.split or ''}".strip()


def main() -> None:
    """Run the request in `sys.argv`."""
    apply_hub_settings()
    request = Request.model_validate_json(Path(sys.argv[1]).read_bytes())
    out = Path(sys.argv[2])
    result = fetch_model(request) if request.what == "model" else fetch_texts(request, out)
    (out / "result.json").write_text(result.model_dump_json())


if __name__ == "__main__":
    main()
