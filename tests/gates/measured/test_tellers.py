"""What is said of images: what a row becomes, and each way of being wrong is seen by the measure that is for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gates.tasks.contract import Stored
from gates.tasks.image_text_to_text import prompt
from tests import pictures
from tests.gates.measured.room import Room, outcomes

pytestmark = pytest.mark.xdist_group("encoders")

HEAD = "language_model.lm_head.weight"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    root = tmp_path_factory.mktemp("tellers")
    pictures.write_files(root)
    unanswered = [{name: row[name] for name in ("image", "prompt")} for row in pictures.ASKED[:4]]
    rows = {"rows": pictures.ASKED[:40], "unanswered": unanswered}
    return Room(root, "image-text-to-text", pictures.teller, rows)


ASKED = {
    "divergence": {"max_kld": 0.02},
    "perplexity": {"max_increase": "5%"},
    "agreement": {"min_top1": "80%"},
    "answers": {"min_same": "80%"},
}


def test_the_original_itself_is_found_to_be_itself(room: Room, tmp_path: Path) -> None:
    evidence = room.evidence("rows", lambda tensors: None, tmp_path)
    checks = {check.name: check for check in evidence.checks}
    assert all(check.passed for check in checks.values()) and checks.keys() >= {"processor", "tokenizer", "generates"}
    # Those of the language model, of the vision tower, the projector and the head.
    assert checks["weights"].detail.startswith("35 linear weights")
    assert evidence.summary and evidence.samples[0].artifact == evidence.samples[0].original != ""
    values = evidence.summary.values
    assert abs(values["kld"]) < 1e-6 and values["same"] == 1 and values["perplexity_original"] < 1.5
    assert outcomes(evidence, **ASKED) == dict.fromkeys(ASKED, "passed")


def test_two_words_taken_for_each_other(room: Room, tmp_path: Path) -> None:
    words = pictures.words()
    first, second = (words.convert_tokens_to_ids(word) for word in ("square", "is"))

    def swap(tensors: Tensors) -> None:
        head = tensors[HEAD].clone()
        head[[first, second]] = tensors[HEAD][[second, first]]
        tensors[HEAD] = head

    assert outcomes(room.evidence("rows", swap, tmp_path), **ASKED) == dict.fromkeys(ASKED, "failed")


def test_less_sure_than_the_original_says_the_same_words(room: Room, tmp_path: Path) -> None:
    found = outcomes(room.evidence("rows", lambda tensors: tensors[HEAD].mul_(0.3), tmp_path), **ASKED)
    assert found == {"divergence": "failed", "perplexity": "failed", "agreement": "passed", "answers": "passed"}


def test_a_model_that_no_longer_sees(room: Room, tmp_path: Path) -> None:
    def blind(tensors: Tensors) -> None:
        name = "model.multi_modal_projector.linear_2.weight"
        tensors[name] = torch.zeros_like(tensors[name])

    evidence = room.evidence("rows", blind, tmp_path)
    found = outcomes(evidence, **ASKED)
    assert found["divergence"] == found["answers"] == "failed"
    told = {check.name: check.detail for check in evidence.checks if not check.passed}
    assert "output channels are all zero" in told["weights"]


def test_weights_are_compared_by_the_names_they_are_stored_under(room: Room, tmp_path: Path) -> None:
    turned = "model.language_model.model.layers.1.mlp.down_proj.weight"
    evidence = room.evidence("rows", lambda tensors: tensors[turned].neg_(), tmp_path)
    told = {check.name: check.detail for check in evidence.checks if not check.passed}
    assert told["weights"].startswith("model.language_model.layers.1.mlp.down_proj.weight: ")


def test_a_row_without_an_answer_has_what_the_original_says(room: Room) -> None:
    row = Stored(room.baseline("unanswered") / "documents").read(0)
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
