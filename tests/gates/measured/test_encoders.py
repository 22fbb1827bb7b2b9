"""Tasks of encoders: what a row becomes, and each way of being wrong is seen by the measure that is for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gates.evidence import Document
from gates.kinds import f1
from gates.tasks.question_answering import _hits, _span
from gates.tasks.token_classification import entities
from quantizers.entrypoint import run as quantize
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request
from tests import encoders
from tests.gates.measured.room import Room, outcomes

pytestmark = pytest.mark.xdist_group("encoders")


def test_entities_are_runs_of_one_kind() -> None:
    labels = ["B-PER", "I-PER", "O", "B-PER", "B-PER", "LOC", "LOC", "I-LOC", "O"]
    assert entities(labels) == {("PER", 0, 2), ("PER", 3, 4), ("PER", 4, 5), ("LOC", 5, 8)}


def test_a_span_ends_where_it_begins_or_behind() -> None:
    logits = torch.full((2, 6), -9.0)
    logits[0, 4], logits[0, 1], logits[1, 2], logits[1, 0] = 3, 2.9, 3, 5
    assert _span(logits) == (1, 2)


def test_hits_of_answers_are_of_the_best_true_one() -> None:
    row = {"answers": torch.tensor([7, 8, -1, 5, -1]), "input_ids": torch.arange(10), "context": torch.arange(3, 10)}
    hits = _hits(row, (4, 5), (2, 2))
    assert hits is not None
    assert (hits.before, hits.chosen_before, hits.after, hits.chosen_after, hits.true) == (2, 2, 1, 1, 2)


def document(index: int, before: tuple[int, int], after: tuple[int, int], true: int) -> Document:
    parts = zip(("hits_original", "chosen_original", "hits", "chosen", "true"), (*before, *after, true), strict=True)
    return Document(index=index, tokens=1, sums={name: float(value) for name, value in parts})


def test_f1_is_of_all_rows_together_and_bounded_by_rows() -> None:
    rows = [document(n, (2, 2), (2, 2) if n % 4 else (1, 2), 2) for n in range(80)]
    recovery = f1.kept(rows, 0.95)
    assert recovery is not None and recovery.low is not None and recovery.high is not None
    assert recovery.value == pytest.approx(1 - 20 / 160)
    assert recovery.low < recovery.value < recovery.high and recovery.high - recovery.low < 0.12
    assert f1.kept(rows[:1], 0.95) is None


def test_the_bound_of_f1_holds_at_its_confidence() -> None:
    rng = torch.Generator().manual_seed(0)
    wrong = 0
    for _ in range(200):
        lost = torch.rand(60, generator=rng) < 0.1
        recovery = f1.kept([document(n, (2, 2), (1, 2) if lost[n] else (2, 2), 2) for n in range(60)], 0.95)
        assert recovery and recovery.low is not None
        wrong += recovery.low > 0.95
    assert wrong <= 20


TRAINED: dict[str, tuple[str, Callable[[Path], object], list[dict[str, Any]]]] = {
    "classes": (
        "text-classification",
        encoders.classifier,
        [{"text": t, "label": n} for t, n in encoders.sentences(64, 5)],
    ),
    "ranks": ("text-classification", encoders.cross_encoder, encoders.pairs(400, 31)),
    "words": ("token-classification", encoders.tagger, encoders.tagged(64, 32)),
    "answers": ("question-answering", encoders.answerer, encoders.questions(64, 33)),
}
"""Case → its task, what trains a model for it, and rows."""


class Rooms:
    """Trained models, each made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root, self.made = root, dict[str, Room]()

    def __getitem__(self, name: str) -> Room:
        task, make, rows = TRAINED[name]
        if name not in self.made:
            self.made[name] = Room(self.root / name, task, make, {"rows": rows})
        return self.made[name]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Rooms:
    return Rooms(tmp_path_factory.mktemp("encoders"))


@pytest.mark.parametrize("name", TRAINED)
def test_the_original_itself_is_found_to_be_itself(name: str, rooms: Rooms, tmp_path: Path) -> None:
    evidence = rooms[name].evidence("rows", lambda tensors: None, tmp_path)
    assert not [check for check in evidence.checks if not check.passed]
    assert evidence.summary and abs(evidence.summary.values["kld"]) < 1e-5
    values = evidence.summary.values
    assert values["agreement"] == 1 and values["f1_original" if name == "answers" else "accuracy_original"] > 0.8
    assert outcomes(evidence, divergence={"max_kld": 1e-3}, agreement={"min_top1": "80%"}) == {
        "divergence": "passed",
        "agreement": "passed",
    }


def test_two_classes_swapped(rooms: Rooms, tmp_path: Path) -> None:
    def swap(tensors: dict[str, torch.Tensor]) -> None:
        for name in ("classifier.weight", "classifier.bias"):
            tensors[name] = tensors[name][[1, 0, 2, 3, 4, 5]].contiguous()

    evidence = rooms["classes"].evidence("rows", swap, tmp_path)
    asked = {"divergence": {}, "agreement": {}, "accuracy": {"min_recovery": "90%"}}
    assert set(outcomes(evidence, **asked).values()) == {"failed"}


def test_scores_in_reverse(rooms: Rooms, tmp_path: Path) -> None:
    def negate(tensors: dict[str, torch.Tensor]) -> None:
        tensors["classifier.weight"].neg_()

    evidence = rooms["ranks"].evidence("rows", negate, tmp_path)
    assert outcomes(evidence, ranking={"min_agreement": "90%"}) == {"ranking": "failed"}
    assert evidence.summary and evidence.summary.values["ordered"] < 0.2


def test_scores_scaled_keep_their_order_and_diverge(rooms: Rooms, tmp_path: Path) -> None:
    def scale(tensors: dict[str, torch.Tensor]) -> None:
        tensors["classifier.weight"].mul_(0.3)
        tensors["classifier.bias"].mul_(0.3)

    evidence = rooms["ranks"].evidence("rows", scale, tmp_path)
    judged = outcomes(evidence, ranking={"min_agreement": "90%"}, divergence={"max_kld": 0.02})
    assert judged == {"ranking": "passed", "divergence": "failed"}


def test_a_reranker_in_four_bits_keeps_its_order(rooms: Rooms, tmp_path: Path) -> None:
    texts = [{"text": f"{row['text']} {row['pair']}"} for row in encoders.pairs(200, 77)]
    calibration = Calibration(documents=encoders.write_rows(tmp_path / "texts.jsonl", texts), samples=64, tokens=40)
    recipe = Recipe(dtype="int4", group_size=64, symmetric=False, rounding="compensated")
    targets = {name: recipe.model_copy(update={"format": name}) for name in ("compressed-tensors", "openvino")}
    model = rooms["ranks"].model
    quantize(
        Request(model=model, task=TRAINED["ranks"][0], targets=targets, calibration=calibration), tmp_path / "made"
    )
    for name in targets:
        (tmp_path / name).mkdir()
        evidence = rooms["ranks"].beside("rows", tmp_path / "made" / name, name, tmp_path / name)
        asked = {"ranking": {"min_agreement": "95%"}, "accuracy": {"min_recovery": "97%"}}
        assert outcomes(evidence, **asked) == {"ranking": "passed", "accuracy": "passed"}


def test_an_entity_s_second_word_lost(rooms: Rooms, tmp_path: Path) -> None:
    def forget(tensors: dict[str, torch.Tensor]) -> None:
        tensors["classifier.bias"][4] -= 50

    evidence = rooms["words"].evidence("rows", forget, tmp_path)
    # One word of sixteen is wrong, and every place.
    judged = outcomes(evidence, accuracy={"min_recovery": "85%"}, f1={"min_recovery": "90%"})
    assert judged == {"accuracy": "passed", "f1": "failed"}


def test_beginnings_of_answers_taken_for_ends(rooms: Rooms, tmp_path: Path) -> None:
    def swap(tensors: dict[str, torch.Tensor]) -> None:
        for name in ("qa_outputs.weight", "qa_outputs.bias"):
            tensors[name] = tensors[name].flip(0).contiguous()

    evidence = rooms["answers"].evidence("rows", swap, tmp_path)
    # Half the answers are one word, and stay what they were.
    assert outcomes(evidence, divergence={}, f1={"min_recovery": "90%"}) == {"divergence": "failed", "f1": "failed"}
