"""Constants that are made when a graph is written."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as ops

from quantizers.formats.openvino.pending import Part, Pending

ROWS = torch.arange(24, dtype=torch.float32).view(6, 4)


def chunks(tensor: torch.Tensor, made: list[int]) -> Iterable[torch.Tensor]:
    for rows in torch.split(tensor, 2):
        made.append(len(rows))
        yield rows


def graph(pending: Pending, *parts: tuple[str, Part]) -> ov.Model:
    """The sum of an input, a constant that is there, and pending ones, `[6, 4]` each."""
    given = ops.parameter([6, 4], ov.Type.f32)
    total = ops.add(given, ops.constant(np.ones((6, 4), np.float32), name="there"))
    for name, part in parts:
        total = ops.add(total, pending.constant(name, ov.Type.f32, [6, 4], part))
    return ov.Model([total], [given], "sum")


def test_a_graph_computes_with_what_was_made_while_it_was_written(tmp_path: Path) -> None:
    made: list[int] = []
    pending = Pending()
    one = Part(ROWS.nbytes, lambda: chunks(ROWS, made))
    two = Part(ROWS.nbytes, lambda: chunks(100 * ROWS, made))
    again = Part(ROWS.nbytes, lambda: [ROWS])
    model = graph(pending, ("self.<one>.weight", one), ("self.two.weight", two), ("self.again.weight", again))
    ov.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    assert not made
    pending.write(tmp_path / "model.xml")
    assert made == [2] * 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    answer = ov.compile_model(tmp_path / "model.xml", "CPU")([np.zeros((6, 4), np.float32)])[0]
    np.testing.assert_array_equal(answer, 102 * ROWS.numpy() + 1)
    assert (tmp_path / "model.bin").stat().st_size == 3 * ROWS.nbytes, "constants of one value are one copy"


def test_what_is_not_of_its_size_or_has_no_place_is_refused(tmp_path: Path) -> None:
    pending = Pending()
    model = graph(pending, ("self.short.weight", Part(ROWS.nbytes, lambda: [ROWS[:5]])))
    ov.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    with pytest.raises(AssertionError, match=r"self\.short\.weight is 80 bytes, and 96"):
        pending.write(tmp_path / "model.xml")
    unused = Pending()
    unused.constant("self.unused.weight", ov.Type.f32, [6, 4], Part(ROWS.nbytes, lambda: [ROWS]))
    ov.save_model(graph(unused), tmp_path / "other.xml", compress_to_fp16=False)
    with pytest.raises(AssertionError, match=r"no weight self\.unused\.weight"):
        unused.write(tmp_path / "other.xml")
    with pytest.raises(AssertionError, match=r"two weights of the name"):
        unused.constant("self.unused.weight", ov.Type.f32, [6, 4], Part(ROWS.nbytes, lambda: [ROWS]))
