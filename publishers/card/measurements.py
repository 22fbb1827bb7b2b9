"""What was measured, as rows and sentences of a card."""

from __future__ import annotations

from statistics import fmean, median
from typing import Any

from catalog.format import Format
from catalog.task import Task
from publishers.card.card_evidence import FP16_MAX, Activations, Evidence, Speed, Summary
from publishers.card.tables import megabytes, with_bounds


def measurements(task: Task, format_: Format, evidence: Evidence) -> list[tuple[str, str, str, str]]:
    """Rows of (quantity, original, this model, change with its bounds)."""
    rows = [*_text_rows(task, "", evidence.summary)]
    if evidence.chat_summary:
        rows += _text_rows(task, ", through the chat template", evidence.chat_summary)
    for name, scores in sorted(evidence.tasks.items()):
        before, after = fmean(scores.original), fmean(scores.artifact)
        kept = f"{after / before:.1%} kept" if before else "–"
        rows.append((f"{name} ({scores.metric}, {len(scores.original)} items)", f"{before:.4f}", f"{after:.4f}", kept))
    size = evidence.size
    held = format_.resident(size.artifact_bytes, size.original_bytes)
    rows.append(
        ("Weights on disk", megabytes(size.original_bytes), megabytes(size.artifact_bytes), f"{size.ratio:.1%}")
    )
    share = f"{held / size.original_bytes:.1%}"
    rows.append(("Weights in memory, computed", megabytes(size.original_bytes), megabytes(held), share))
    original, own = evidence.activations_original, evidence.activations
    if original or own:
        rows.append(("Largest activation", _reached(original), _reached(own), f"fp16 ends at {FP16_MAX:,}"))
    return rows


def _text_rows(task: Task, where: str, summary: Summary) -> list[tuple[str, str, str, str]]:
    rows = []
    for each in task.quantities:
        estimate = summary.quantities.get(each.name)
        if estimate is not None:
            bounded = with_bounds(estimate, each.style)
            own, change = (each.own.format(**summary.values), bounded) if each.own else (bounded, "")
            rows.append((each.words.format(where=where), each.original.format(**summary.values), own, change))
    return rows


def _reached(seen: Activations | None) -> str:
    if seen is None:
        return "–"
    return f"{'no finite number' if seen.largest is None else f'{seen.largest:,.0f}'}, in `{seen.layer}`"


def speed(told: Speed) -> list[tuple[str, list[str]]]:
    """Rows of what one machine took: a quantity, and a figure for each side."""
    sides = list(told.sides.values())
    first, decoded = ([median(getattr(side, f"{name}_seconds")) for side in sides] for name in ("first", "decode"))
    rows: list[tuple[str, str, list[Any]]] = [
        (f"Time to the first token of a prompt of {told.prompt} tokens, ms", "{:,.0f}", [1000 * s for s in first]),
        ("Prompt, tokens a second", "{:,.1f}", [told.prompt / s for s in first]),
        (f"Decoding {told.tokens} tokens, tokens a second", "{:,.1f}", [told.tokens / s for s in decoded]),
        ("Resident memory of the process, MB", "{:,.0f}", [side.resident_bytes / 1e6 for side in sides]),
        ("The same at its peak, MB", "{:,.0f}", [side.peak_bytes / 1e6 for side in sides]),
        ("Threads", "{}", [side.threads or "–" for side in sides]),
    ]
    return [(label, [style.format(number) for number in numbers]) for label, style, numbers in rows]


def overflow(evidence: Evidence) -> str | None:
    """What fp16 would do to it, of the artifact where its client shows that, else of the original; None: it is all right."""
    seen = evidence.activations or evidence.activations_original
    if seen is None or not seen.beyond:
        return None
    worst, most = max(seen.beyond.items(), key=lambda each: each[1])
    count = sum(seen.beyond.values())
    return f"{count:,} activations, {most:,} of them in `{worst}`, are beyond {FP16_MAX:,}, where fp16 ends"
