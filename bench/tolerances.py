"""What a divergence costs: perplexity, choices that turn, and recovery on a task, for trained models rounded ever coarser.

    python -m bench.tolerances [--items 240]

The models are the demo's and three that tests train (`bench.trained`), of three families and with a task each. Every figure has
its one-sided 95 % bounds, as gates have them; documents are scored whole.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from bench.gates_models import rounded
from bench.table import Column, report
from bench.trained import Trained, models
from gates.evidence import TaskScores
from gates.kinds.agreement import TOP1
from gates.kinds.divergence import KLD
from gates.kinds.perplexity import INCREASE
from gates.kinds.tail import FLIPS, quantile
from gates.statistics.estimate import Estimate
from gates.statistics.recovery import recovery

CONFIDENCE = 0.95
GRIDS = ((8, 64), (6, 64), (5, 64), (4, 16), (4, 32), (4, 64), (3, 16), (3, 32), (3, 64), (2, 16))
"""Bits and group sizes."""


def _range(style: str) -> Callable[[dict[str, float | None]], str]:
    def show(bounds: dict[str, float | None]) -> str:
        low, high = ("–" if bounds[end] is None else style.format(bounds[end]) for end in ("low", "high"))
        return f"{style.format(bounds['value'])} ({low} … {high})"

    return show


COLUMNS = (
    Column("model", "model", str),
    Column("name", "weights", str),
    Column("kld", "KLD, nats per token", _range("{:.4f}")),
    Column("increase", "perplexity", _range("{:+.2%}")),
    Column("agreement", "top-1", _range("{:.1%}")),
    Column("flips", "flips", _range("{:.2%}")),
    Column("p999", "p99.9, nats", _range("{:.3f}")),
    Column("recovery", "recovery", _range("{:.1%}")),
)


def lines(model: Trained) -> Iterator[dict[str, Any]]:
    """Yield a line for every grid; the model's own score on its task stands in each."""
    right = tuple(model.answers(model.loaded))
    for bits, group in GRIDS:
        damaged = rounded(bits, group, model.loaded)
        documents, own = model.scores(damaged), tuple(model.answers(damaged))
        task = TaskScores(metric="acc", configuration={}, original=right, artifact=own, identical=False, mcnemar_p=None)
        measured: dict[str, Estimate | None] = {
            "kld": KLD.over(documents, CONFIDENCE),
            "increase": INCREASE.over(documents, CONFIDENCE),
            "agreement": TOP1.over(documents, CONFIDENCE),
            "flips": FLIPS.over(documents, CONFIDENCE),
            "p999": quantile(documents, CONFIDENCE),
            "recovery": recovery(task, CONFIDENCE),
        }
        told = {key: each and each.model_dump() for key, each in measured.items()}
        asked = {"task": model.task, "documents": len(documents), "answered": sum(right) / len(right)}
        yield {"model": model.name, "name": f"int{bits} g{group}"} | asked | {"items": len(right)} | told


def main() -> None:
    """Print the table and write `bench/results/tolerances.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=240)
    arguments = parser.parse_args()
    table = []
    for model in models(arguments.items):
        table += list(lines(model))
        print(f"{model.name}: {model.task}, {table[-1]['answered']:.1%} of {table[-1]['items']} items", flush=True)
    names = dict.fromkeys(f"{line['model']} answers {line['answered']:.1%}" for line in table)
    report("tolerances", f"trained models rounded; {', '.join(names)}", COLUMNS, table)


if __name__ == "__main__":
    main()
