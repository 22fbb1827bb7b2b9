"""The card of an adapter: the base that it belongs to, what it learned, and how far the base has moved elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCardData
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catalog.formats import ADAPTER
from publishers.card.card_evidence import Estimate, Summary, incomplete, read_verdict
from publishers.card.license import License
from publishers.card.loading import snippet
from publishers.card.tables import as_yaml, leaves, template, with_bounds
from publishers.provenance import File
from publishers.request import Subject

LABELS = {
    "rank": "Rank of each update",
    "alpha": "Alpha: updates are scaled by alpha / rank",
    "target_modules": "Linears that have one",
    "steps": "Steps of AdamW",
    "batch": "Rows of a step",
    "micro_batch": "Rows that a process holds at a time",
    "processes": "Processes that shared them",
    "tokens": "Tokens per row",
    "learning_rate": "Learning rate",
    "seed": "Seed",
    "compute": "Products in",
}
"""Order and wording of the recipe table."""
ROWS = {"held_out": "held-out text of the task", "general": "general text"}


class _Evidence(BaseModel):
    """What was measured (`gates.adapters.evidence`), as far as a card shows it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    loader: str
    row_tokens: int
    held_out: tuple[Any, ...] = Field(min_length=1)
    general: tuple[Any, ...] = Field(min_length=1)
    held_out_summary: Summary
    general_summary: Summary
    base_bytes: int
    adapter_bytes: int
    tools: dict[str, str]


def render(subject: Subject, license_: License, files: Mapping[str, File]) -> str:
    """Write the card of an adapter whose other files are `files`.

    Raises:
        PublishError: evidence or verdict lack what a card must show.
    """
    try:
        evidence = _Evidence.model_validate(subject.evidence)
    except ValidationError as error:
        raise incomplete("evidence", error) from error
    verdict = read_verdict(subject.verdict)
    tools = {**subject.tools, **evidence.tools}
    return template("adapter.md.jinja").render(
        metadata=_metadata(subject, license_),
        subject=subject,
        evidence=evidence,
        rows=[_row(ROWS[name], getattr(evidence, f"{name}_summary")) for name in ROWS],
        confidence=_confidence(evidence.held_out_summary),
        gates=[gate.shown for gate in verdict.gates if gate.shown],
        sanity=[gate.name.removeprefix("sanity.") for gate in verdict.gates if gate.shown is None],
        recipe=[(LABELS.get(key, key), _word(subject.recipe[key])) for key in _ordered(subject.recipe)],
        texts=[(f"Training: {key}", value) for key, value in leaves(subject.calibration or {})]
        + list(leaves(subject.evaluation)),
        snippet=snippet(subject.format, subject.task, subject.name),
        format=ADAPTER,
        packages=[(name, tools.get(name)) for name in ADAPTER.packages],
        manifest=as_yaml({"adapters": {subject.target: _entry(subject)}}),
        license=license_,
        tools=tools,
        files=dict(sorted(files.items())),
    )


def _confidence(summary: Summary) -> float:
    return next(each.confidence for each in summary.quantities.values() if isinstance(each, Estimate))


def _entry(subject: Subject) -> dict[str, Any]:
    """The recipe as an entry of a manifest, which names its base by a target."""
    compute = {"float32": "fp32", "bfloat16": "bf16"}[subject.recipe["compute"]]
    return {**{key: subject.recipe[key] for key in _ordered(subject.recipe)}, "compute": compute}


def _ordered(recipe: Mapping[str, Any]) -> list[str]:
    return [key for key in LABELS if key in recipe]


def _word(value: Any) -> str:
    return (", ".join(f"`{each}`" for each in value) or "all of every block") if isinstance(value, list) else str(value)


def _row(where: str, summary: Summary) -> tuple[str, ...]:
    """Text, perplexities of base and adapter, change of the loss and divergence, with bounds."""
    values, told = summary.values, summary.quantities
    before, after = (f"{values[name]:.3f}" for name in ("perplexity_original", "perplexity"))
    return where, before, after, with_bounds(told["loss_change"], "{:+.4f}"), with_bounds(told["kld"], "{:.5f}")


def _metadata(subject: Subject, license_: License) -> str:
    card = ModelCardData(
        model_name=subject.name,
        base_model=subject.source.id,
        base_model_relation="adapter",
        library_name=ADAPTER.client.library,
        pipeline_tag=subject.task,
        license=license_.license,
        license_name=license_.license_name,
        license_link=license_.license_link,
        language=list(license_.language) or None,
        tags=["quantmill", "lora", "qlora"],
    )
    return str(card.to_yaml()).strip()
