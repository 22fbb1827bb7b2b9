"""What is said of images: what a row becomes, and each way of being wrong is seen by the measure that is for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gates import entrypoint
from gates.evidence import Evidence
from gates.judging.verdict import judge
from gates.request import BaselineRequest, Evaluation, EvidenceRequest
from gates.results import Baseline
from gates.spec import Gates
from gates.tasks.contract import Stored
from gates.tasks.image_text_to_text import prompt
from tests import encoders, pictures

TASK = "image-text-to-text"
HEAD = "language_model.lm_head.weight"
Tensors = dict[str, torch.Tensor]


class Room:
    """A trained LLaVA with its baseline."""

    def __init__(self, root: Path) -> None:
        self.root, self.model, self.baseline = root, root / "llava", root / "baseline"
        pictures.teller(self.model)
        pictures.write_files(root)
        self.evaluation = self.asked("rows", pictures.ASKED[:64])
        self.scored(self.evaluation, self.baseline)

    def asked(self, name: str, rows: list[dict[str, Any]]) -> Evaluation:
        """Write rows beside the pictures."""
        return Evaluation(documents=encoders.write_rows(self.root / f"{name}.jsonl", rows))

    def scored(self, evaluation: Evaluation, out: Path) -> Baseline:
        """Run the original."""
        out.mkdir()
        result = entrypoint.run(BaselineRequest(model=self.model, task=TASK, evaluation=evaluation), out)
        assert isinstance(result, Baseline)
        return result

    def evidence(self, change: Callable[[Tensors], object], out: Path) -> Evidence:
        """Hold a copy of the model, its tensors changed, against the model."""
        copy = shutil.copytree(self.model, out / "copy")
        tensors = load_file(copy / "model.safetensors")
        change(tensors)
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        fields = {"model": self.model, "task": TASK, "artifact": copy, "format": "transformers"}
        fields |= {"baseline": self.baseline, "evaluation": self.evaluation}
        evidence = entrypoint.run(EvidenceRequest.model_validate(fields), out)
        assert isinstance(evidence, Evidence)
        return evidence


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("tellers"))


ASKED = {
    "divergence": {"max_kld": 0.02},
    "perplexity": {"max_increase": "5%"},
    "agreement": {"min_top1": "80%"},
    "answers": {"min_same": "80%"},
}


def outcomes(evidence: Evidence) -> dict[str, str]:
    gates = Gates.model_validate({"size": None, **ASKED})
    return {row.name: row.outcome for row in judge(evidence, gates).gates if not row.name.startswith("sanity.")}


def test_the_original_itself_is_found_to_be_itself(room: Room, tmp_path: Path) -> None:
    evidence = room.evidence(lambda tensors: None, tmp_path)
    checks = {check.name: check for check in evidence.checks}
    assert all(check.passed for check in checks.values()) and checks.keys() >= {"processor", "tokenizer", "generates"}
    # Those of the language model, of the vision tower, the projector and the head.
    assert checks["weights"].detail.startswith("29 linear weights")
    assert evidence.summary and evidence.samples[0].artifact == evidence.samples[0].original != ""
    values = evidence.summary.values
    assert abs(values["kld"]) < 1e-6 and values["same"] == 1 and values["perplexity_original"] < 1.5
    assert outcomes(evidence) == dict.fromkeys(ASKED, "passed")


def test_two_words_taken_for_each_other(room: Room, tmp_path: Path) -> None:
    words = pictures.words()
    first, second = (words.convert_tokens_to_ids(word) for word in ("square", "is"))

    def swap(tensors: Tensors) -> None:
        head = tensors[HEAD].clone()
        head[[first, second]] = tensors[HEAD][[second, first]]
        tensors[HEAD] = head

    assert outcomes(room.evidence(swap, tmp_path)) == dict.fromkeys(ASKED, "failed")


def test_less_sure_than_the_original_says_the_same_words(room: Room, tmp_path: Path) -> None:
    found = outcomes(room.evidence(lambda tensors: tensors[HEAD].mul_(0.3), tmp_path))
    assert found == {"divergence": "failed", "perplexity": "failed", "agreement": "passed", "answers": "passed"}


def test_a_model_that_no_longer_sees(room: Room, tmp_path: Path) -> None:
    def blind(tensors: Tensors) -> None:
        name = "model.multi_modal_projector.linear_2.weight"
        tensors[name] = torch.zeros_like(tensors[name])

    evidence = room.evidence(blind, tmp_path)
    assert {outcomes(evidence)[name] for name in ("divergence", "answers")} == {"failed"}
    told = {check.name: check.detail for check in evidence.checks if not check.passed}
    assert "output channels are all zero" in told["weights"]


def test_weights_are_compared_by_the_names_they_are_stored_under(room: Room, tmp_path: Path) -> None:
    evidence = room.evidence(
        lambda tensors: tensors["model.language_model.model.layers.1.mlp.down_proj.weight"].neg_(), tmp_path
    )
    told = {check.name: check.detail for check in evidence.checks if not check.passed}
    assert told["weights"].startswith("model.language_model.layers.1.mlp.down_proj.weight: ")


def test_a_row_without_an_answer_has_what_the_original_says(room: Room, tmp_path: Path) -> None:
    rows = [{name: row[name] for name in ("image", "prompt")} for row in pictures.ASKED[:4]]
    room.scored(room.asked("unanswered", rows), tmp_path / "baseline")
    row = Stored(tmp_path / "baseline" / "documents").read(0)
    assert row["targets"].tolist() == [*row["written"].tolist(), 1]
    assert row["given.pixel_values"].shape == (1, 3, pictures.SIDE, pictures.SIDE)
    assert (row["given.input_ids"] == 3).sum() == 16


class Talking:
    """A processor with a chat template."""

    chat_template = "as transformers has it"

    def apply_chat_template(self, talk: list[dict[str, Any]], **asked: Any) -> str:
        assert asked == {"tokenize": False, "add_generation_prompt": True}
        return " ".join(f"<{part['type']}>{part.get('text', '')}" for part in talk[0]["content"])


class Plain:
    """One without."""

    image_token = "<image>"


def test_a_prompt_is_put_as_the_processor_has_it() -> None:
    assert prompt(Talking(), "What?") == "<image> <text>What?"
    assert prompt(Plain(), "What?") == "<image> What?" and prompt(Plain(), "What? <image>") == "What? <image>"
