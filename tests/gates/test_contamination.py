from __future__ import annotations

import json
import random
import time

import pytest

from gates.errors import GateError
from gates.safeguards.contamination import overlap
from tests.gates.conftest import DEMO

WORDS = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in "nprst"]


def prose(seed: int, words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def located(name: str, texts: list[str]) -> list[tuple[str, str]]:
    return [(f"{name}:{number}", text) for number, text in enumerate(texts, 1)]


def demo(name: str) -> list[tuple[str, str]]:
    return located(name, [json.loads(line)["text"] for line in (DEMO / name).read_text().splitlines()])


def test_demo_texts_are_disjoint() -> None:
    shared = overlap(demo("calibration.jsonl"), demo("evaluation.jsonl"))
    assert shared.documents == 122 and shared.share < 0.05


@pytest.mark.parametrize(
    ("calibration", "evaluation"),
    [
        (prose(1), prose(1)),
        (prose(1), prose(1).upper().replace(" ", ",\n ")),
        (prose(2) + " " + prose(1), prose(3, 600) + " " + prose(1, 40) + " " + prose(4, 600)),
        (prose(1), " ".join(prose(1).split()[100:130]) + " " + prose(5, 20)),
        ("How many roads must a man walk down?", "how many roads must a man walk down"),
        ("春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。", "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少"),
    ],
    ids=["equal", "other case and spacing", "a passage", "a tenth", "one short line", "no spaces"],
)
def test_shared_text_is_refused_and_named(calibration: str, evaluation: str) -> None:
    first = located("calibration.jsonl", [prose(8), calibration])
    second = located("evaluation.jsonl", [prose(9), evaluation])
    named = r"evaluation\.jsonl:2 shares .* calibration text \(calibration\.jsonl:2\), such as"
    with pytest.raises(GateError, match=named):
        overlap(first, second)


def test_a_set_phrase_is_no_contamination() -> None:
    phrase = prose(1, 15)
    shared = overlap(
        located("calibration.jsonl", [prose(2, 400) + " " + phrase]),
        located("evaluation.jsonl", [prose(3, 400) + " " + phrase]),
    )
    assert shared.touched == 1 and 0 < shared.share < 0.01


def test_fast_enough_for_every_plan() -> None:
    first = located("calibration.jsonl", [prose(seed, 2000) for seed in range(100)])
    second = located("evaluation.jsonl", [prose(seed, 2000) for seed in range(1000, 1100)])
    start = time.perf_counter()
    assert overlap(first, second).touched == 0
    assert time.perf_counter() - start < 5
