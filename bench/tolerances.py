"""What a divergence costs: perplexity, choices that turn, and recovery on a task, for the demo model rounded ever coarser.

    python -m bench.tolerances [--items 360]

The task is to tell how a document goes on: of four passages of 24 tokens, the true one and three from other documents at the
same place, the model takes the likeliest. Every figure has its one-sided 95 % bounds, as gates have them; documents are
scored whole, with all that the demo holds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch

from bench.gates_models import original, rounded, rows, scores
from bench.table import Column, report
from gates.clients.client import Loaded
from gates.evidence import TaskScores
from gates.kinds.agreement import TOP1
from gates.kinds.divergence import KLD
from gates.kinds.perplexity import INCREASE
from gates.kinds.tail import FLIPS
from gates.statistics.estimate import Estimate
from gates.statistics.recovery import recovery

CONFIDENCE = 0.95
CHOICES, PASSAGE, PLACES = 4, 24, (32, 96, 160)
"""Passages to choose from, tokens of each, and where in a document they begin."""
ROUNDED: dict[str, Callable[[], Loaded]] = {
    f"int{bits} g{group}": lambda bits=bits, group=group: rounded(bits, group)  # type: ignore[misc]
    for bits, group in ((8, 64), (6, 64), (5, 64), (5, 256), (4, 32), (4, 64), (4, 256), (3, 32), (3, 64), (2, 32))
}


def _range(style: str) -> Callable[[dict[str, float | None]], str]:
    def show(bounds: dict[str, float | None]) -> str:
        low, high = ("–" if bounds[end] is None else style.format(bounds[end]) for end in ("low", "high"))
        return f"{style.format(bounds['value'])} ({low} … {high})"

    return show


COLUMNS = (
    Column("name", "weights", str),
    Column("kld", "KLD, nats per token", _range("{:.4f}")),
    Column("increase", "perplexity", _range("{:+.2%}")),
    Column("agreement", "top-1 agreement", _range("{:.1%}")),
    Column("flips", "flips", _range("{:.2%}")),
    Column("recovery", "recovery", _range("{:.1%}")),
)


def items(texts: list[torch.Tensor], most: int) -> list[tuple[torch.Tensor, int]]:
    """Return rows to choose from, (CHOICES, tokens), the true one first, and where the passage begins."""
    generator, made = torch.Generator().manual_seed(0), []
    for begins in PLACES:
        fit = [text for text in texts if len(text) >= begins + PASSAGE]
        for index, text in enumerate(fit):
            others = torch.randperm(len(fit) - 1, generator=generator)[: CHOICES - 1]
            chosen = [text, *(fit[int(other) + (int(other) >= index)] for other in others)]
            ends = torch.stack([each[begins : begins + PASSAGE] for each in chosen])
            made.append((torch.cat([text[:begins].expand(CHOICES, -1), ends], 1), begins))
    return made[:most]


@torch.inference_mode()
def answers(loaded: Loaded, asked: list[tuple[torch.Tensor, int]]) -> Iterator[float]:
    """Yield 1 for each item whose true passage is the likeliest, else 0."""
    for choices, begins in asked:
        logprobs = loaded.model(choices).logits[:, begins - 1 : -1].float().log_softmax(-1)
        likelihood = logprobs.gather(-1, choices[:, begins:, None]).sum((1, 2))
        yield float(likelihood.argmax() == 0)


def main() -> None:
    """Print the table and write `bench/results/tolerances.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=360)
    texts, sound = rows(), original()
    asked = items(texts, parser.parse_args().items)
    right = tuple(answers(sound, asked))
    lines: list[dict[str, Any]] = []
    for name, model in ROUNDED.items():
        damaged = model()
        documents, own = scores(sound, damaged, texts), tuple(answers(damaged, asked))
        task = TaskScores(metric="acc", configuration={}, original=right, artifact=own, identical=False, mcnemar_p=None)
        measured: dict[str, Estimate | None] = {
            "kld": KLD.over(documents, CONFIDENCE),
            "increase": INCREASE.over(documents, CONFIDENCE),
            "agreement": TOP1.over(documents, CONFIDENCE),
            "flips": FLIPS.over(documents, CONFIDENCE),
            "recovery": recovery(task, CONFIDENCE),
        }
        lines.append({"name": name} | {key: each and each.model_dump() for key, each in measured.items()})
    title = f"the demo model on {len(texts)} documents; it answers {sum(right) / len(right):.1%} of {len(right)} items"
    report("tolerances", title, COLUMNS, lines)


if __name__ == "__main__":
    main()
