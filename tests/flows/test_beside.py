"""Files that rows stand for: found beside the rows, brought along under their hash, and part of what decides a key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from catalog.reading import rows as reading
from catalog.task import Column
from catalog.tasks import TASKS
from flows.errors import DocumentError
from flows.execution.fetch import Request, fetch_texts
from flows.files.documents import rows
from flows.manifest.errors import ManifestError
from flows.manifest.load import load
from flows.planning.preflight.beside import check_beside
from flows.planning.preflight.finding import Finding
from flows.planning.sources import Sources
from flows.store import Store

AUDIO = Column("audio", kind="audio")
COLUMNS = (AUDIO, Column("transcript", required=False))
NAMED = tuple((column, column.name) for column in COLUMNS)
SOUND = b"RIFF\x24\0\0\0WAVEfmt "
TASK = "text-classification"


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose rows begin with a sound."""
    monkeypatch.setitem(TASKS, TASK, replace(TASKS[TASK], columns=COLUMNS, label="transcript"))


def write_rows(directory: Path, *rows: object) -> Path:
    (directory / "sounds").mkdir(exist_ok=True)
    (directory / "sounds" / "a.WAV").write_bytes(SOUND)
    path = directory / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_data_set(directory: Path) -> Path:
    """Rows in the form in which `datasets` writes sounds into Parquet."""
    write_rows(directory)
    path = directory / "rows.parquet"
    held = [{"bytes": SOUND, "path": "a.wav"}, {"bytes": None, "path": "sounds/a.WAV"}]
    parquet.write_table(pa.Table.from_pylist([{"audio": each, "transcript": "x"} for each in held]), path)
    return path


@pytest.mark.parametrize(
    "make",
    [lambda at: write_rows(at, {"audio": "sounds/a.WAV", "transcript": "x"}), as_data_set],
    ids=["jsonl", "parquet"],
)
@pytest.mark.usefixtures("listening")
def test_files_are_brought_along_under_the_hash_of_their_bytes(make: Callable[[Path], Path], tmp_path: Path) -> None:
    made, out = make(tmp_path), tmp_path / "out"
    out.mkdir()
    asked = Request(
        what="texts", files=(made,), task=TASK, columns={"audio": "audio", "transcript": "transcript"}, cache=tmp_path
    )
    count = fetch_texts(asked, out).documents
    digest = hashlib.sha256(SOUND).hexdigest()
    assert [path.name for path in (out / "files").iterdir()] == [f"{digest}.wav"]
    (row,) = reading.read(out / "documents.jsonl", COLUMNS)  # the same sound twice is one row
    assert row["audio"].read_bytes() == SOUND and row["transcript"] == "x" and count in (1, 2)
    assert reading.strings(row) == ["x"]


@pytest.mark.usefixtures("listening")
def test_a_data_set_of_sounds_is_read_without_a_decoder(tmp_path: Path) -> None:
    from datasets import Audio, Dataset

    write_rows(tmp_path)
    (tmp_path / "corpus").mkdir()
    said = Dataset.from_dict({"audio": [str(tmp_path / "sounds" / "a.WAV")], "transcript": ["x"]})
    said.cast_column("audio", Audio()).to_parquet(tmp_path / "corpus" / "test.parquet")
    named = {"audio": "audio", "transcript": "transcript"}
    asked = Request(
        what="texts", source=str(tmp_path / "corpus"), split="test", task=TASK, columns=named, cache=tmp_path / "cache"
    )
    (tmp_path / "out").mkdir()
    fetch_texts(asked, tmp_path / "out")
    (row,) = reading.read(tmp_path / "out" / "documents.jsonl", COLUMNS)
    assert row["audio"].read_bytes() == SOUND and row["transcript"] == "x"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("sounds/none.wav", "names sounds/none.wav, which is no file; names are relative to"),
        (3, "is to name a file, or to hold bytes or path"),
        (None, "is to hold a name of a sound file, and holds nothing"),
    ],
)
def test_a_value_that_stands_for_no_file_is_told_of(value: object, words: str, tmp_path: Path) -> None:
    made = write_rows(tmp_path, {"audio": value})
    with pytest.raises(DocumentError, match=words):
        list(rows(made, [(AUDIO, "audio")]))


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Path]:
    inside = tmp_path / "inside"
    (inside / "model").mkdir(parents=True)
    (inside / "m.yaml").write_text(
        f"model: {{source: ./model, name: m, task: {TASK}}}\nevaluation: {{files: rows.jsonl}}\ntargets: {{nf4: nf4}}\n"
    )
    yield inside / "m.yaml"


@pytest.mark.usefixtures("listening")
def test_a_file_that_changes_changes_the_key(manifest: Path, tmp_path: Path) -> None:
    write_rows(manifest.parent, {"audio": "sounds/a.WAV"})
    store = Store(tmp_path / "home")
    before = Sources(store, store.hashes).rows(load(manifest))
    assert Sources(store, store.hashes).rows(load(manifest)) == before
    (manifest.parent / "sounds" / "a.WAV").write_bytes(SOUND + b"\0")
    assert Sources(store, store.hashes).rows(load(manifest)) != before


@pytest.mark.usefixtures("listening")
def test_plans_refuse_files_of_another_kind_and_from_elsewhere(manifest: Path, tmp_path: Path) -> None:
    rows_file = write_rows(manifest.parent, {"audio": "sounds/a.WAV"}, {"audio": "../out.wav"})
    (tmp_path / "out.wav").write_bytes(SOUND)
    key = ("evaluation", "files", 0)
    with pytest.raises(ManifestError, match=r"out\.wav, outside the manifest's directory"):
        check_beside(Finding(load(manifest)), key, rows_file, NAMED)
    check_beside(Finding(load(manifest, allow_path=True), allow_path=True), key, rows_file, NAMED)
    (tmp_path / "out.wav").write_bytes(b"ID3\x04" + bytes(40))
    with pytest.raises(ManifestError, match=r"rows\.jsonl:2: \.\./out\.wav is no WAV file.*write it as one"):
        check_beside(Finding(load(manifest, allow_path=True), allow_path=True), key, rows_file, NAMED)
