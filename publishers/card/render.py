"""The model card: what the release is, how it was made, what was measured, how to load it and how to make it again.

Made from the subject alone: the same subject gives the same card, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from safetensors import SafetensorError, safe_open

from catalog import architectures, vllm
from catalog.dtypes import DTYPES
from catalog.formats import FORMATS
from catalog.task import Task
from catalog.tasks import TASKS
from publishers.card.archived import archived
from publishers.card.card_evidence import Estimate, Evidence, Summary, read_evidence, read_verdict
from publishers.card.license import License
from publishers.card.loading import drafted, runtimes, snippet
from publishers.card.measurements import measurements, overflow, speed
from publishers.card.tables import as_yaml, cell, leaves, template
from publishers.card.words import RECIPE_LABELS, RECIPE_WORDS, TEXT_LABELS
from publishers.provenance import File
from publishers.request import Subject

CARD = "README.md"

NAMES = 4
"""Linears of another type that the recipe table names, of each type."""

DATASET_TYPE = re.compile(r"([\w-]+/)?[\w.-]+\Z", re.ASCII)
"""What the Hub takes as the type of a data set in a card's results."""


def render(subject: Subject, license_: License, files: Mapping[str, File]) -> str:
    """Write the card of a release whose other files are `files`.

    Raises:
        PublishError: evidence or verdict lack what a card must show.
    """
    evidence, verdict = read_evidence(subject.evidence, subject.task), read_verdict(subject.verdict)
    format_ = FORMATS[subject.format]
    sanity = [gate.name.removeprefix("sanity.") for gate in verdict.gates if gate.shown is None]
    return template("card.md.jinja").render(
        metadata=_metadata(subject, license_, evidence),
        subject=subject,
        evidence=evidence,
        verdict=verdict,
        license=license_,
        format=format_,
        task=TASKS[subject.task],
        recipe=recipe_rows(subject.recipe),
        lead=_lead(TASKS[subject.task], evidence.summary),
        confidence=_confidence(evidence.summary),
        measurements=measurements(TASKS[subject.task], format_, evidence),
        overflow=overflow(evidence),
        speed=speed(evidence.speed) if evidence.speed else None,
        gates=[gate.shown for gate in verdict.gates if gate.shown],
        sanity=sanity,
        texts=_texts(subject),
        snippet=snippet(
            subject.format,
            subject.task,
            subject.name,
            runtime=subject.runtime,
            architectures=architectures.named(subject.artifact),
        ),
        runtimes=[
            *runtimes(
                subject.format,
                subject.task,
                subject.name,
                subject.runtime,
                files.keys(),
                _model_type(subject.artifact),
            ),
            *drafted(subject),
        ],
        packages=[
            (p, {**subject.tools, **evidence.tools}.get(p)) for p in (*format_.packages, *TASKS[subject.task].packages)
        ],
        ran=_ran(subject, evidence),
        vllm=_vllm(subject) if format_.vllm and TASKS[subject.task].tokenizes else None,
        archived=archived(subject, evidence.size.artifact_bytes) if subject.equal else None,
        manifest=as_yaml({"targets": {subject.target: _target(subject)}}),
        tools={**subject.tools, **evidence.tools},
        files=dict(sorted(files.items())),
    )


def _model_type(artifact: Path) -> str | None:
    config = artifact / "config.json"
    return json.loads(config.read_bytes()).get("model_type") if config.is_file() else None


def recipe_rows(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The recipe as a reader's table, every field of it."""
    told = [key for key in _ordered(recipe) if key != "nncf" or recipe[key]]
    return [(RECIPE_LABELS.get(key, key), _recipe_word(key, recipe[key])) for key in told]


def _ordered(recipe: Mapping[str, Any]) -> list[str]:
    return [key for key in RECIPE_LABELS if key in recipe] + sorted(recipe.keys() - RECIPE_LABELS.keys())


def _vllm(subject: Subject) -> str:
    """What vLLM's rules say of the weights. It was not run: it is no client that judges."""
    recipe = subject.recipe
    if refused := vllm.refusal(DTYPES[recipe["dtype"]].bits, recipe["group_size"], _tensors(subject.artifact)):
        return f"It is not for vLLM: {refused}."
    since = vllm.since(recipe["symmetric"])
    return f"By the rules of vLLM{f', from {since}' if since else ''}, that reads it packed; it was not run there."


def _tensors(artifact: Path) -> frozenset[str]:
    """Names of all tensors in its files; none of one that is damaged, which `publishers.contents` refuses by name."""
    names: set[str] = set()
    for file in artifact.glob("*.safetensors"):
        with suppress(SafetensorError):
            names.update(safe_open(file, "numpy").keys())  # type: ignore[no-untyped-call]
    return frozenset(names)


def _ran(subject: Subject, evidence: Evidence) -> str:
    """How it was run when it was judged: what was asked for, and what the client said of itself."""
    asked, words = subject.runtime, ""
    if asked.said:
        products = f", with products in {asked.compute}" if asked.compute else ""
        words = f", on {asked.device}{products}, as the code above runs it"
    # OpenVINO shows its types so.
    told = {name: re.sub(r"<Type: '(\w+)'>", r"\1", value) for name, value in sorted(evidence.runtime.items())}
    said = ", ".join(f"{name} {value}" for name, value in told.items())
    return f"{words} ({said})" if said else words


def _target(subject: Subject) -> dict[str, Any]:
    """The recipe, and what it was judged with, as a target of a manifest."""
    said = subject.runtime.said
    compute = {"runtime": {"compute": said.pop("compute")}} if "compute" in said else {}
    draft = {"draft": subject.draft.written} if subject.draft else {}
    return {**{key: subject.recipe[key] for key in _ordered(subject.recipe)}, **said, **compute, **draft}


def _recipe_word(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(f"`{item}`" for item in value) or "nothing"
    if key == "overrides":
        return _overrides_word(value)
    if isinstance(value, dict):
        return ", ".join(f"`{k}`: {v}" for k, v in sorted(value.items())) or "nothing"
    return RECIPE_WORDS.get(
        (key, value), "none" if value is None else f"`{value}`" if isinstance(value, str) else f"{value}"
    )


def _overrides_word(overrides: Mapping[str, str]) -> str:
    """Which linears have which dtype; of many, as many as a reader looks at. The recipe below the table has all."""
    words = []
    for dtype in sorted(set(overrides.values())):
        names = [f"`{name}`" for name, own in overrides.items() if own == dtype]
        more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
        words.append(f"`{dtype}`: {', '.join(names[:NAMES])}{more}")
    return "; ".join(words) or "none"


def _metadata(subject: Subject, license_: License, evidence: Evidence) -> str:
    """The card's YAML block. `base_model` takes a Hub id alone: a model from a directory has none."""
    recipe = subject.recipe
    tags = ["quantmill", "quantized", subject.format, recipe.get("dtype"), recipe.get("transform")]
    card = ModelCardData(
        model_name=subject.name,
        base_model=subject.source.id,
        base_model_relation="quantized" if subject.source.id else None,
        library_name=FORMATS[subject.format].client.library,
        pipeline_tag=subject.task,
        license=license_.license,
        license_name=license_.license_name,
        license_link=license_.license_link,
        language=list(license_.language) or None,
        tags=list(dict.fromkeys(tag for tag in tags if tag)),
        quantized_by="quantmill",
        eval_results=_results(subject, evidence),
    )
    return str(card.to_yaml()).strip()


def _results(subject: Subject, evidence: Evidence) -> list[EvalResult]:
    source = str(subject.evaluation.get("where") or subject.evaluation.get("source") or "held-out text")
    first = source.split()[0]
    values = evidence.summary.values
    told = [q.metric for q in TASKS[subject.task].quantities if q.metric and q.metric[2] in values]
    return [
        EvalResult(
            task_type=subject.task,
            dataset_type=first if DATASET_TYPE.match(first) else "held-out-text",
            dataset_name=source,
            metric_type=kind,
            metric_name=words,
            metric_value=round(values[name], 6),
        )
        for kind, words, name in told
    ]


def _lead(task: Task, summary: Summary) -> str:
    return task.lead.format(tokens=summary.tokens, **summary.values)


def _confidence(summary: Summary) -> float:
    return next(each.confidence for each in summary.quantities.values() if isinstance(each, Estimate))


def _texts(subject: Subject) -> list[tuple[str, str]]:
    rows = []
    for kind, description in (("Calibration", subject.calibration), ("Evaluation", subject.evaluation)):
        if description is not None:
            rows += [(f"{kind}: {TEXT_LABELS.get(key, key)}", cell(value)) for key, value in leaves(description)]
    # What is no text has no tokens to be cut off.
    return (
        rows if TASKS[subject.task].tokenizes else [row for row in rows if not row[0].endswith(TEXT_LABELS["tokens"])]
    )
