from pathlib import Path

import pytest

from flows.files.fingerprint import ContentHashes, canonical, file_sha256, fingerprint


def test_equal_content_has_one_form_whatever_the_order() -> None:
    assert canonical({"b": (1, 2), "a": {"y": None, "x": 0.5}}) == b'{"a":{"x":0.5,"y":null},"b":[1,2]}'


def test_the_fingerprint_never_changes_by_accident() -> None:
    assert fingerprint({"step": "x", "n": 1}) == "dfb3ea7154d780233e98514c033f5764b966630ee139679479bfa5f1fbfb8ef3"


@pytest.mark.parametrize("value", [object(), {1: "a"}, {"a": {2}}, Path("x"), b"bytes"])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        fingerprint(value)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nan|NaN|JSON compliant"):
        fingerprint({"a": float("nan")})


def test_a_changed_file_gets_a_new_hash_and_an_unchanged_one_is_not_read_again(tmp_path: Path) -> None:
    file, memory = tmp_path / "file", tmp_path / "memory.json"
    file.write_text("one")
    hashes = ContentHashes(memory)
    first = hashes.file(file)
    assert first == file_sha256(file)
    hashes.save()
    memory.write_text(memory.read_text().replace(first, "0" * 64))
    assert ContentHashes(memory).file(file) == "0" * 64  # believed, so not read
    file.write_text("two, longer")
    assert ContentHashes(memory).file(file) == file_sha256(file)


def test_a_torn_memory_costs_only_time(tmp_path: Path) -> None:
    file, memory = tmp_path / "file", tmp_path / "memory.json"
    file.write_text("one")
    memory.write_text('{"half":')
    assert ContentHashes(memory).file(file) == file_sha256(file)
