"""What is read of weights before any of them is: the headers of safetensors."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from flows.files.headers import HeaderError, shapes


def safetensors(header: dict[str, Any], payload: int) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(payload)


WHOLE = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def test_headers_give_shapes_without_reading_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors(WHOLE, 24))
    assert shapes(tmp_path)["w"].shape == (2, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a whole"),
        (b"\xff" * 64, "not a whole"),
        (struct.pack("<Q", 4) + b"{no}", "not safetensors"),
        (safetensors(WHOLE, 20), "truncated"),
        (safetensors({"w": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 24]}}, 24), "stores w in 24 bytes"),
    ],
)
def test_a_header_that_cannot_be_believed_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(HeaderError, match=words):
        shapes(tmp_path)


def test_an_index_that_names_a_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-00001.safetensors"}}')
    with pytest.raises(HeaderError, match="model-00001"):
        shapes(tmp_path)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(safetensors(WHOLE, 24))
    more = WHOLE | {"v": {"dtype": "F32", "shape": [1], "data_offsets": [24, 28]}}
    (tmp_path / "b.safetensors").write_bytes(safetensors(more, 28))
    index = {"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(HeaderError, match="second time"):
        shapes(tmp_path)
