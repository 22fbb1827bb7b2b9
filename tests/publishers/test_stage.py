"""What becomes a release and what is refused: the wrong verdict, the wrong bits, code, and traces of this machine."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from publishers.entrypoint import run
from publishers.errors import PublishError
from publishers.provenance import read_provenance
from publishers.request import Place, Request, Subject
from publishers.stage import stage
from tests.publishers.conftest import DOCUMENT, VERDICT, hashes, subject_of


def test_release_is_artifact_card_provenance_and_notices(subject: Subject, home: Path, tmp_path: Path) -> None:
    staged = stage(subject, tmp_path / "stage", home)
    staged_hashes = hashes(tmp_path / "stage")
    assert staged_hashes == {path: file.sha256 for path, file in staged.files.items()}
    assert staged_hashes.keys() - subject.files.keys() == {"README.md", "quantmill.json", "LICENSE", "NOTICE.txt"}
    assert {path: staged_hashes[path] for path in subject.files} == subject.files
    provenance = read_provenance(tmp_path / "stage")
    assert {path: file.sha256 for path, file in provenance.files.items()} | {
        "quantmill.json": staged_hashes["quantmill.json"]
    } == staged_hashes
    assert provenance.source.model_dump() == {"name": "demo", "id": "acme-labs/demo", "revision": "a" * 40}
    assert provenance.recipe == subject.recipe and provenance.evidence["documents"][0] == {"index": 0, **DOCUMENT}


def test_same_subject_same_bytes_wherever_it_is(artifact: Path, model: Path, home: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "artifact"
    moved.parent.mkdir()
    first = stage(subject_of(artifact, model), tmp_path / "first", home)
    artifact.rename(moved)
    second = stage(subject_of(moved, model), tmp_path / "second", tmp_path / "other home")
    assert first.commit == second.commit and first.files == second.files


def test_text_of_the_release_names_no_place_of_this_machine(subject: Subject, home: Path, tmp_path: Path) -> None:
    staged = stage(subject, tmp_path / "stage", home)
    for path in staged.files:
        assert str(tmp_path).encode() not in (tmp_path / "stage" / path).read_bytes()


def timed(artifact: Path, model: Path, seconds: float, **changes: Any) -> Subject:
    """Passed a gate of speed, and measured with that."""
    fast = subject_of(artifact, model, **changes)
    said = f"decoding speed over the original's {seconds}, at least 1.1, limit 1.00"
    shown = {"label": "Decoding speed over the original's", "allowed": "≥ 1.00", "column": "speed"}
    numbers = {"measured": f"{seconds}", "bound": "1.10", "cell": f"{seconds} ×"}
    gate = {"name": "speed", "outcome": "passed", "value": seconds, "interval": [1.1, None], "sentence": said}
    gate |= {"timed": True, "shown": shown | numbers}
    fast.verdict.update(
        gates=[*fast.verdict["gates"], {**gate, "limit": 1.0}], sentence=f"Passed 2 gates and 1 check: {said}."
    )
    both = {name: [seconds] * 3 for name in ("decode_seconds", "first_seconds")}
    held = {name: int(seconds * 1e8) for name in ("resident_bytes", "peak_bytes")}
    own = {**both, **held, "threads": 2}
    original = {f"{name}_original": value for name, value in own.items()}
    elsewhere = {"elsewhere": {"OpenVINO GenAI": {**own, "decode_seconds": [seconds / 2], "threads": None}}}
    told = {"tokens": 32, "prompt": 256, "processor": "A CPU of 2 | 4 GHz"}
    fast.evidence["speed"] = {**own, **original, **elsewhere, **told}
    return fast


def test_what_a_machine_took_is_told_as_its_figures_and_is_in_no_verdict(
    artifact: Path, model: Path, home: Path, tmp_path: Path
) -> None:
    staged = stage(timed(artifact, model, 1.6), tmp_path / "stage", home)
    card = (tmp_path / "stage" / "README.md").read_text()
    assert (
        "| Decoding speed over the original's | on the building machine | within the limit | ≥ 1.00 | passed |" in card
    )
    assert "| Decoding 32 tokens, tokens a second | 20.0 | 20.0 | 40.0 |" in card
    assert "| | original | this model | in OpenVINO GenAI |\n|---|---|---|---|" in card
    assert "| Time to the first token of a prompt of 256 tokens, ms | 1,600 | 1,600 | 1,600 |" in card
    assert "| Prompt, tokens a second | 160.0 | 160.0 | 160.0 |" in card and "| Threads | 2 | 2 | – |" in card
    assert "| Resident memory of the process, MB | 160 | 160 | 160 |" in card
    assert "medians of 3 turns on A CPU of 2 | 4 GHz.\nThese are figures of that machine" in card
    assert "1.6" not in json.dumps(staged.provenance.verdict) and staged.provenance.evidence["speed"]["prompt"] == 256
    plain = stage(subject_of(artifact, model), tmp_path / "plain", home)
    assert "on one machine" not in (plain.directory / "README.md").read_text()


def test_measuring_again_makes_no_new_version(artifact: Path, model: Path, home: Path, tmp_path: Path) -> None:
    def released(seconds: float, **changes: Any) -> Place:
        out = tmp_path / f"{seconds}{len(changes)}"
        out.mkdir()
        (place,) = run(Request(subject=timed(artifact, model, seconds, **changes), home=home), out).places
        return place

    first, again = released(1.6), released(1.7)
    assert first == again and first.version == "v1"
    assert "| 20.0 | 20.0 | 40.0 |" in (tmp_path / "1.70" / "README.md").read_text(), "as it was measured first"
    other = released(1.8, key="l" * 64)
    assert other.version == "v2" and "| 17.8 | 17.8 | 35.6 |" in (tmp_path / "1.81" / "README.md").read_text()
    assert released(1.9) == first, "an earlier version is that version"
    unmeasured = subject_of(artifact, model)
    (tmp_path / "none").mkdir()
    assert run(Request(subject=unmeasured, home=home), tmp_path / "none").places[0].version == "v3"


REFUSED_VERDICTS: dict[str, dict[str, Any]] = {
    "failed": {**VERDICT, "passed": False, "sentence": "Failed at divergence: 0.3 nats."},
    "undecided": {**VERDICT, "passed": False, "outcome": "undecided", "sentence": "Undecided."},
    "empty": {},
    "a word for true": {**VERDICT, "passed": "true"},
    "a gate that failed": {**VERDICT, "gates": [{"name": "size", "outcome": "failed", "sentence": "too big"}]},
    "no gates": {**VERDICT, "gates": []},
}


@pytest.mark.parametrize("verdict", REFUSED_VERDICTS.values(), ids=REFUSED_VERDICTS.keys())
def test_only_what_passed_is_released(
    artifact: Path, model: Path, home: Path, tmp_path: Path, verdict: dict[str, Any]
) -> None:
    with pytest.raises(PublishError, match=r"did not pass its gates|verdict lacks"):
        stage(subject_of(artifact, model, verdict=verdict), tmp_path / "stage", home)
    assert not (tmp_path / "stage").exists()


def test_evidence_without_what_the_card_shows_is_refused(
    artifact: Path, model: Path, home: Path, tmp_path: Path
) -> None:
    subject = subject_of(artifact, model)
    del subject.evidence["summary"]["kld"]
    with pytest.raises(PublishError, match=r"evidence lacks.*summary\.kld"):
        stage(subject, tmp_path / "stage", home)


def config(artifact: Path, **changes: Any) -> None:
    path = artifact / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


Spoil = Callable[[Path], object]
BAD: dict[str, tuple[Spoil, str]] = {
    "pickle": (lambda a: (a / "model.pt").write_bytes(pickle.dumps({})), r"model\.pt, a kind of file"),
    "torch .bin": (lambda a: (a / "pytorch_model.bin").write_bytes(b"x"), r"pytorch_model\.bin, a kind of file"),
    "IR weights in another format": (lambda a: (a / "openvino_model.bin").write_bytes(b"x"), "openvino_model.bin"),
    "code": (lambda a: (a / "modeling_x.py").write_text("import os"), r"modeling_x\.py, a kind of file"),
    "code as a notice": (lambda a: (a / "LICENSE.py").write_text("import os"), r"LICENSE\.py, a kind of file"),
    "auto_map": (lambda a: config(a, auto_map={"AutoModel": "modeling_x.X"}), "config.json has auto_map"),
    "nested auto_map": (lambda a: config(a, text={"auto_map": {"AutoConfig": "c.C"}}), "has auto_map"),
    "_name_or_path": (lambda a: config(a, _name_or_path="acme/x"), "config.json has _name_or_path"),
    "home path": (lambda a: config(a, cache="/home/mallory/.cache/x"), "mentions /home/mallory"),
    "windows home path": (lambda a: config(a, cache="C:\\Users\\mallory\\x"), "mentions C:"),
    "own directory": (lambda a: config(a, note=f"read from {a}/x"), "mentions .*artifact"),
    "home path in a template": (lambda a: (a / "chat_template.jinja").write_text("/Users/m/x"), "mentions /Users/m"),
    "cut weights": (lambda a: shorten(a / "model.safetensors"), "not a whole safetensors file"),
    "pickle in disguise": (lambda a: (a / "x.safetensors").write_bytes(pickle.dumps([1])), "not a whole safetensors"),
    "cut JSON": (lambda a: shorten(a / "tokenizer.json"), r"tokenizer\.json is not JSON"),
    "hidden file": (lambda a: (a / ".env").write_text("SECRET=1"), r"holds '\.env'"),
    "odd name": (lambda a: (a / "a b.json").write_text("{}"), "holds 'a b.json'"),
    "link out": (lambda a: (a / "extra.json").symlink_to("/etc/hostname"), r"extra\.json, which is not a regular file"),
    "own card": (lambda a: (a / "README.md").write_text("# mine"), r"holds README\.md, which publishing writes"),
}


@pytest.mark.parametrize("spoil, message", BAD.values(), ids=BAD.keys())
def test_what_must_not_leave_is_refused(
    artifact: Path, model: Path, home: Path, tmp_path: Path, spoil: Spoil, message: str
) -> None:
    spoil(artifact)
    with pytest.raises(PublishError, match=message):
        stage(subject_of(artifact, model), tmp_path / "stage", home)


def test_paths_in_the_request_do_not_leave_either(artifact: Path, model: Path, home: Path, tmp_path: Path) -> None:
    evaluation = {"source": "/home/mallory/secret.jsonl", "documents": 2, "tokens": 512}
    with pytest.raises(
        PublishError, match=r"quantmill\.json mentions /home/mallory/secret\.jsonl \(in evaluation\.source\)"
    ):
        stage(subject_of(artifact, model, evaluation=evaluation), tmp_path / "stage", home)


def test_paths_in_sampled_text_are_only_text(artifact: Path, model: Path, home: Path, tmp_path: Path) -> None:
    subject = subject_of(artifact, model)
    subject.evidence["samples"] = [{"prompt": "cd /home/guido/src", "original": "/root/x", "artifact": "/root/y"}]
    assert stage(subject, tmp_path / "stage", home).provenance.evidence["samples"] == subject.evidence["samples"]


CHANGED: dict[str, tuple[Spoil, str]] = {
    "a bit": (lambda a: config(a, hidden_size=65), r"config\.json has SHA-256"),
    "a file more": (lambda a: (a / "extra.json").write_text("{}"), r"unknown extra\.json"),
    "a file less": (lambda a: (a / "generation_config.json").unlink(), r"missing generation_config\.json"),
}


@pytest.mark.parametrize("spoil, message", CHANGED.values(), ids=CHANGED.keys())
def test_what_was_not_measured_is_refused(
    artifact: Path, model: Path, home: Path, tmp_path: Path, spoil: Spoil, message: str
) -> None:
    subject = subject_of(artifact, model)
    spoil(artifact)
    with pytest.raises(PublishError, match=message):
        stage(subject, tmp_path / "stage", home)


@pytest.mark.parametrize(
    "name", ["plain", "a/b/c", "acme/-x", "acme/x--y", "acme/x.git", "acme/ü", "acme/" + "x" * 97, "../x"]
)
def test_names_that_a_hub_refuses(artifact: Path, model: Path, home: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(PublishError, match="not a name that a hub takes"):
        stage(subject_of(artifact, model, name=name), tmp_path / "stage", home)


def test_openvino_files_pass(artifact: Path, model: Path, home: Path, tmp_path: Path) -> None:
    for name in ("openvino_model", "openvino_tokenizer", "openvino_detokenizer"):
        (artifact / f"{name}.xml").write_text("<net/>")
        (artifact / f"{name}.bin").write_bytes(b"weights")
    (artifact / "model.safetensors").unlink()
    staged = stage(subject_of(artifact, model, format="openvino"), tmp_path / "stage", home)
    assert "openvino_detokenizer.bin" in staged.files
