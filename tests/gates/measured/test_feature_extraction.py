"""Embeddings: pooling is the client's, and each way of being wrong is seen by the measure that is for it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from gates.clients.client import load_original
from gates.errors import GateError
from gates.evaluation import readers
from gates.judging.gate import Embedded
from gates.tasks import measured, pooling
from gates.tasks.contract import Asked
from gates.tasks.feature_extraction import LEAST, compared
from tests import encoders

pytestmark = pytest.mark.xdist_group("encoders")


def vectors(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, 32, generator=generator), dim=-1)


def measured_of(change: torch.Tensor, queries: torch.Tensor) -> Embedded:
    """What is seen of the first query when the artifact's collection is `change`."""
    return compared(queries[0], queries[1], vectors(200, 0), functional.normalize(change, dim=-1))


def test_identical_vectors_are_identical() -> None:
    query = vectors(1, 3)[0]
    embedded = measured_of(vectors(200, 0), torch.stack([query, query]))
    assert (embedded.overlap, embedded.count) == (1.0, 1)
    assert embedded.cosine == pytest.approx(1) and embedded.correlation == pytest.approx(1)


def test_each_measure_sees_what_it_is_for() -> None:
    query, same = vectors(1, 3)[0], vectors(200, 0)
    alike = torch.stack([query, query])
    turned, _ = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(1)))
    # Another basis: every vector is far from the original's, and nothing is nearer or farther.
    rotated = measured_of(same @ turned, torch.stack([query, query @ turned]))
    assert abs(rotated.cosine) < 0.6 and rotated.overlap == 1 and rotated.correlation == pytest.approx(1, abs=1e-6)
    # The nearest of the collection swapped with the farthest: the query itself is as it was.
    order = (same @ query).argsort()
    swapped = same.clone()
    swapped[order[:10]], swapped[order[-10:]] = same[order[-10:]], same[order[:10]]
    moved = measured_of(swapped, alike)
    assert moved.cosine == pytest.approx(1) and moved.overlap == 0 and moved.correlation < 0.9
    # All but the nearest in another order.
    shuffled = same.clone()
    rest = order[:-10]
    shuffled[rest] = same[rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(2))]]
    mixed = measured_of(shuffled, alike)
    assert mixed.overlap == 1 and mixed.correlation < 0.3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("embedder")
    encoders.embedder(directory)
    return directory


@pytest.mark.parametrize("name", ["cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens"])
def test_a_pooling_is_what_its_name_says(name: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    listed = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    encoders.write_json(tmp_path / "modules.json", listed)
    encoders.write_json(tmp_path / "1_Pooling" / "config.json", {f"pooling_mode_{name}": True})
    states = torch.arange(12.0).view(4, 3)
    expected = {
        "cls_token": states[0],
        "max_tokens": states[2],
        "mean_tokens": states[:3].mean(0),
        "mean_sqrt_len_tokens": states[:3].sum(0) / 3**0.5,
    }
    vector = pooling.embed(states, torch.tensor([1, 1, 1, 0]), pooling.steps(tmp_path))
    assert torch.allclose(vector, expected[name])


def test_a_module_of_another_kind_is_refused(tmp_path: Path) -> None:
    encoders.write_json(tmp_path / "modules.json", [{"path": "1_LSTM", "type": "x.LSTM"}])
    with pytest.raises(GateError, match="1_LSTM is a LSTM"):
        pooling.steps(tmp_path)


@pytest.mark.skipif(find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed")
def test_an_embedding_is_what_sentence_transformers_computes(model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [text for text, _ in encoders.sentences(LEAST, 4)]
    task = measured("feature-extraction")
    rows = task.rows([{"text": text} for text in texts], asked(model))
    loaded = load_original(model, "feature-extraction")
    ours = torch.stack([task.describe(loaded, row, 0)["embedding"] for row in rows if row is not None])
    theirs = torch.as_tensor(SentenceTransformer(str(model), device="cpu").encode(texts))
    assert torch.allclose(ours, theirs, atol=1e-5)


def asked(model: Path) -> Asked:
    return Asked(model, readers.load(model, "feature-extraction").tokenizer, 64, model)


def test_too_few_rows_are_told(model: Path) -> None:
    task = measured("feature-extraction")
    rows = task.rows([{"text": "one"}] * (LEAST - 1), asked(model))
    assert set(map(str, rows)) == {"None"} and str(LEAST) in task.nothing


def test_importing_the_layout_imports_no_torch() -> None:
    import subprocess

    code = "import sys, catalog.sentence_transformers; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
