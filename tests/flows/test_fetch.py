"""Texts and models brought here by the door of `flows.execution.fetch`."""

import json
from pathlib import Path

import pytest

from catalog.errors import InputError, NetworkFault
from flows.execution import child
from flows.execution.fetch import Request
from tests.publishers.loopback_hub import HELD, Answer, LoopbackHub


def fetch(tmp_path: Path, **request: object) -> list[str]:
    (tmp_path / "work" / "out").mkdir(parents=True)
    asked = Request.model_validate({"what": "texts", "cache": tmp_path / "cache", **request})
    child.run("flows.execution.fetch", asked, tmp_path / "work", progress=lambda *event: None)
    lines = (tmp_path / "work" / "out" / "documents.jsonl").read_text().split("\n")
    return [json.loads(line)["text"] for line in lines if line]


def test_files_become_documents_in_order_empty_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "one\\u2028two"}\n\n{"body": " "}\n{"body": "three"}\n')
    (tmp_path / "b.json").write_text('[{"body": "four"}]')
    files = [str(tmp_path / name) for name in ("a.jsonl", "b.json")]
    assert fetch(tmp_path, files=files, column="body") == ["one\u2028two", "three", "four"]


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"title": "x"}\n', "column"), ('{"text": 3}\n', "no text"), ("{no\n", "not JSON"), ("\n", "no document")],
)
def test_a_file_that_holds_no_documents_is_bad_input(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(InputError, match=words):
        fetch(tmp_path, files=[str(tmp_path / "a.jsonl")])


def test_a_data_set_is_read_by_the_datasets_library(tmp_path: Path) -> None:
    # A directory of files is a data set to that library, as a repository of the Hub is.
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "train.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "corpus" / "test.jsonl").write_text('{"text": "three"}\n')
    assert fetch(tmp_path, source=str(tmp_path / "corpus"), split="test") == ["three"]


def test_a_hub_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackHub(token="hf_loopback_secret") as hub:
        hub.before = lambda method, path: Answer(HELD)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
        (tmp_path / "out").mkdir()
        asked = Request(what="model", source="maker/model", revision="a" * 40, cache=tmp_path / "cache")
        with pytest.raises(NetworkFault, match="does not answer as it should"):
            child.run("flows.execution.fetch", asked, tmp_path, progress=lambda *event: None, network="token")
