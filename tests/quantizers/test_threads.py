"""Artifacts and sensitivities are the same to the byte however many threads make them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from quantizers.hardware.threads import cores, one_thread_each, pieces, side_by_side
from tests.quantizers.models import DEMO

PROGRAM = """
import sys
from pathlib import Path
from bench import tiny
from quantizers.entrypoint import answer, run
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request, SensitivityRequest

demo, out = Path(sys.argv[1]), Path(sys.argv[2])
shared = {"dtype": "int4", "group_size": 32, "symmetric": False, "rounding": "compensated"}
recipes = {
    "awq": Recipe(transform="awq", **shared),
    "teq": Recipe(transform="teq", range="mse", **shared),
    "ir": Recipe(transform="awq", format="openvino", **shared),
}
def text(**changes):
    return Calibration(documents=demo / "calibration.jsonl", samples=6, tokens=200, **changes)

run(Request(model=demo / "model", targets=recipes, calibration=text()), out / "float32")
run(Request(model=demo / "model", targets={"awq": recipes["awq"]}, calibration=text(compute="bfloat16")), out / "bfloat16")
answer(
    SensitivityRequest(model=demo / "model", recipe=recipes["awq"], dtypes=("int4", "int8"), calibration=text()),
    out / "sensitivity",
)
for kind in ("mixtral",):
    model = tiny.save(kind, out / "models" / kind)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (model / file).write_bytes((demo / "model" / file).read_bytes())
    run(Request(model=model, targets={"awq": recipes["awq"]}, calibration=text()), out / kind)
"""
THREADS = ("1", "5")


@pytest.mark.slow
def test_the_number_of_threads_changes_no_byte(tmp_path: Path) -> None:
    hashes = []
    for count in THREADS:
        out = tmp_path / count
        environment = os.environ | {"OMP_NUM_THREADS": count}
        subprocess.run([sys.executable, "-c", PROGRAM, str(DEMO), str(out)], env=environment, check=True)
        files = sorted(path for path in out.rglob("*") if path.is_file())
        hashes.append({str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    weights = [name for name in hashes[0] if name.endswith((".safetensors", ".bin"))]
    assert len(weights) >= 6
    for others in hashes[1:]:
        assert [name for name in others if others[name] != hashes[0][name]] == []


def test_pieces_are_done_side_by_side_in_order_each_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    together = threading.Barrier(3, timeout=20)

    def work(cut: slice) -> tuple[int, int, bool, list[int]]:
        together.wait()
        within = side_by_side(lambda piece: piece.start, pieces(3, 1))
        return cut.start, torch.get_num_threads(), torch.is_grad_enabled(), within

    with torch.no_grad():
        done = side_by_side(work, pieces(9, 3))
    assert done == [(0, 1, False, [0, 1, 2]), (3, 1, False, [0, 1, 2]), (6, 1, False, [0, 1, 2])]


def test_one_piece_is_held_to_one_thread_and_torch_is_let_go_again() -> None:
    before = torch.get_num_threads()
    assert side_by_side(lambda _: torch.get_num_threads(), [0]) == [1]
    with one_thread_each():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("said", "count"), [("7", 7), ("", None), ("0", None), ("2,1", None)])
def test_threads_are_what_openmp_is_told_or_the_cores_that_may_be_used(
    said: str, count: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert cores() == (count or len(os.sched_getaffinity(0)))
