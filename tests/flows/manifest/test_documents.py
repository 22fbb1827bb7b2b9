import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from flows.errors import DocumentError
from flows.files.documents import READERS, documents

TEXTS = ["One.", "Two\nlines.", "A\u2028separator."]
ROWS = [{"text": text, "other": "x"} for text in (*TEXTS[:1], " ", *TEXTS[1:])]


def as_parquet(path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist(ROWS), path)


WRITERS = {
    ".jsonl": lambda path: path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)),
    ".json": lambda path: path.write_text(json.dumps(ROWS)),
    ".txt": lambda path: path.write_text("One.\n\n \n\nTwo\nlines.\n\nA\u2028separator."),
    ".parquet": as_parquet,
}


@pytest.mark.parametrize("suffix", READERS)
def test_every_kind_of_file_yields_its_documents_in_order_without_empty_ones(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path)
    assert [text.strip() for text in documents(path, "text")] == TEXTS


def test_a_parquet_file_without_the_column_says_which_it_has(tmp_path: Path) -> None:
    as_parquet(tmp_path / "a.parquet")
    with pytest.raises(DocumentError, match="has no column 'body'; it has 'text', 'other'"):
        list(documents(tmp_path / "a.parquet", "body"))
