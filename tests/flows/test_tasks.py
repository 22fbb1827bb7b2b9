"""Tasks from a manifest to releases in several formats, which the code on their cards loads and runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests import encoders, listeners, pictures, translators
from tests.flows.conftest import Ran, quantmill
from tests.releases import ROOT, say

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.xdist_group("tasks")]

TARGETS = {"int4": "w4-compensated-asym-g64", "ov-int8": "ov-w8-rtn"}
PAGE_CODE = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tasks.md").read_text(), re.DOTALL)
SHIP = "eht pihs wols sdnif eht epor der"
"""What the translator of the tests writes for `the slow ship finds the red rope`."""
TEXTS = [{"text": text} for text, _ in encoders.sentences(200, 9)]
SENTENCES = [{"text": text, "label": topic} for text, topic in encoders.sentences(96, 5)]


@dataclass(frozen=True)
class Case:
    """A task with a model that is trained for it, rows, and gates beside divergence and size."""

    task: str
    make: Callable[[Path], object]
    rows: list[dict[str, Any]]
    gates: str
    says: str
    """What the code on a card prints, as a pattern."""
    targets: Mapping[str, str] = field(default_factory=lambda: TARGETS)
    page: tuple[str, ...] = ()
    """What each piece of code of the task's section in docs/tasks.md prints of these releases."""
    beside: Callable[[Path], object] | None = None
    """What writes the files that rows, and the code on cards, name."""
    calibration: Sequence[dict[str, Any]] = tuple(TEXTS)


def heard(directory: Path) -> None:
    """The sounds of the rows, and one that the code on cards reads."""
    listeners.write_sounds(directory, listeners.rows(32, 31))
    listeners.write_sounds(directory, listeners.CALIBRATION, 20_000)
    listeners.write(directory / "speech.wav", "mill stone flour", 5)


# Wide enough for the first look at eight rows: how sharp gates are is tested in tests/gates/measured.
SMALL = "divergence: {max_kld: 0.5}, size: {max_ratio: 90%}"
ALIKE = "agreement: {min_top1: 40%}"
CASES = {
    "embeddings": Case(
        "feature-extraction",
        encoders.embedder,
        SENTENCES,
        "cosine: {min_cosine: 0.98}, neighbours: {min_overlap: 30%}, similarity: {}, size: {max_ratio: 90%}",
        r"\[-?[\d.]+",
        # sentence-transformers runs nf4 of the two formats that are transformers'.
        TARGETS | {"nf4": "nf4"},
    ),
    "halves": Case(
        "feature-extraction",
        translators.encoder,
        SENTENCES,
        "cosine: {min_cosine: 0.98}, neighbours: {min_overlap: 30%}, size: {max_ratio: 90%}",
        r"\[-?[\d.]+",
        {"nf4": "nf4-awq"},
    ),
    "translations": Case(
        "text2text-generation",
        translators.translator,
        translators.rows(140, 31)[:96],
        f"chrf: {{min_recovery: 60%}}, answers: {{min_same: 30%}}, {ALIKE}, {SMALL}",
        r"\w+",
        # transformers loads no T5 from compressed-tensors.
        {"nf4": "nf4", "ov-int8": "ov-w8-rtn"},
        (
            f"[[{{'generated_text': '{SHIP}'}}], [{{'generated_text': 'eht mrots dlo snrut eht lias dloc'}}]]\n"
            f"[{{'generated_text': '{SHIP}'}}]\n",
            2 * f"{SHIP[:-4]}\n{[SHIP[:-4].replace('pihs', other) for other in ('lias', 'mrots')]}\n{SHIP[:-4]}\n",
        ),
    ),
    "sounds": Case(
        "automatic-speech-recognition",
        listeners.listener,
        listeners.rows(32, 31),
        f"wer: {{max_increase: 40%}}, answers: {{min_same: 30%}}, {ALIKE}, {SMALL}",
        "^mill stone flour$",
        {"nf4": "nf4", "ov-int4": "ov-w4-awq-compensated-asym-g64"},
        beside=heard,
        calibration=listeners.CALIBRATION,
    ),
    "classes": Case(
        "text-classification",
        encoders.classifier,
        SENTENCES,
        f"accuracy: {{min_recovery: 40%}}, {ALIKE}, {SMALL}",
        "|".join(encoders.TOPICS),
    ),
    "pictures": Case(
        "image-classification",
        pictures.vit,
        pictures.ROWS,
        f"accuracy: {{min_recovery: 60%}}, {ALIKE}, {SMALL}",
        "|".join(pictures.NAMES),
        # transformers loads no ViT from compressed-tensors; a BEiT is in tests/quantizers/test_files.py.
        {"nf4": "nf4", "ov-int4": "ov-w4-awq-compensated-asym-g64", "ov-w8a8": "ov-w8a8"},
        beside=pictures.write_files,
        calibration=pictures.CALIBRATION,
    ),
    "tellers": Case(
        "image-text-to-text",
        pictures.teller,
        pictures.ASKED,
        f"answers: {{min_same: 40%}}, perplexity: {{max_increase: 50%}}, {ALIKE}, {SMALL}",
        r"\w+",
        {"int4": "w4-compensated-asym-g64", "nf4": "nf4", "ov-int8": "ov-w8-rtn"},
        beside=pictures.write_files,
    ),
    "ranks": Case(
        "text-classification",
        encoders.cross_encoder,
        encoders.pairs(96, 31),
        f"ranking: {{min_agreement: 40%}}, accuracy: {{min_recovery: 40%}}, {ALIKE}, {SMALL}",
        r"LABEL_0 \[-?[\d.]+",
    ),
    "words": Case(
        "token-classification",
        encoders.tagger,
        encoders.tagged(96, 32),
        f"f1: {{min_recovery: 60%}}, {ALIKE}, {SMALL}",
        "PER|LOC",
    ),
    "answers": Case(
        "question-answering",
        encoders.answerer,
        encoders.questions(96, 33),
        f"f1: {{min_recovery: 60%}}, {ALIKE}, {SMALL}",
        r"\w+",
    ),
    "masks": Case(
        "fill-mask", encoders.filler, SENTENCES, f"perplexity: {{max_increase: 100%}}, {ALIKE}, {SMALL}", r"\w+"
    ),
}


@dataclass(frozen=True)
class Milled:
    """All cases in one run, and what the code on their cards and on the page prints."""

    ran: Ran
    cards: Mapping[str, list[str]]
    """By case, of each target."""
    said: Mapping[str, list[str]]
    """By case: of each target's card, and of each piece of code on the page."""


def written(case: Case, name: str, directory: Path) -> Path:
    """Write a case's model, texts and manifest."""
    directory.mkdir()
    case.make(directory / "model")
    if case.beside:
        case.beside(directory)
    encoders.write_rows(directory / "evaluation.jsonl", case.rows)
    encoders.write_rows(directory / "calibration.jsonl", case.calibration)
    column = ", column: text" if "text" in case.calibration[0] and "text" not in case.rows[0] else ""
    manifest = directory / f"{name}.yaml"
    manifest.write_text(
        f"model: {{source: ./model, name: {name}, task: {case.task}}}\n"
        f"calibration: {{files: [calibration.jsonl], samples: 16, tokens: 48{column}}}\n"
        "evaluation: {files: [evaluation.jsonl], tokens: 60}\n"
        f"targets: {json.dumps(case.targets)}\n"
        f"gates: {{{case.gates}}}\n"
    )
    return manifest


@pytest.fixture(scope="module")
def milled(prefect: str, tmp_path_factory: pytest.TempPathFactory) -> Milled:
    """Every program of a case runs where its files are; all in one process, which imports the clients once."""
    scratch = tmp_path_factory.mktemp("tasks")
    manifests = [written(case, name, scratch / name) for name, case in CASES.items()]
    ran = quantmill("run", *manifests, "--json", home=scratch / "home", PREFECT_API_URL=prefect)
    assert ran.code == 0, ran.stdout + ran.stderr
    cards, programs = {}, {}
    for name, case in CASES.items():
        cards[name] = [card(scratch / "home", f"local/{name}-{target}") for target in case.targets]
        codes = [re.findall(r"```python\n(.*?)```", each, re.DOTALL)[0] for each in cards[name]]
        codes += [code for code in PAGE_CODE if f"local/{name}-" in code]
        programs[name] = [f"import os\nos.chdir({str(scratch / name)!r})\n{code}" for code in codes]
    said = iter(
        say([*chain.from_iterable(programs.values())], scratch, HF_HOME=str(scratch / "home"), HF_HUB_OFFLINE="1")
    )
    return Milled(ran, cards, {name: [next(said) for _ in codes] for name, codes in programs.items()})


def card(home: Path, release: str) -> str:
    """The card of a release in the local hub."""
    return (Path(quantmill("show", release, "--json", home=home).json["directory"]) / "README.md").read_text()


@pytest.mark.parametrize("name", CASES)
def test_a_task_from_a_manifest_to_the_clients_of_its_releases(name: str, milled: Milled) -> None:
    case = CASES[name]
    released = {row["release"]: row["version"] for row in milled.ran.json}
    assert [released[f"local/{name}-{target}"] for target in case.targets] == ["v1"] * len(case.targets)
    assert all(f"pipeline_tag: {case.task}" in each for each in milled.cards[name])
    said = milled.said[name]
    for snippet in said[: len(case.targets)]:
        assert re.search(case.says, snippet), snippet
    assert tuple(said[len(case.targets) :]) == case.page
