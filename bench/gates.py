"""Operating characteristic of the gates: how often a model of known damage passes.

    python -m bench.gates [--comparisons 500]

Documents are drawn from the recorded scores of damaged copies of the demo model, so their damage is known exactly; the
tolerance is set to it (at), to twice it (half: the model is at half the tolerance) and to half of it (twice). What must
hold: at the tolerance at most 5 % pass, at half at least 90 %, at twice none, and an identical copy always.
`looks` judges after 8, 16, ... and 256 documents, and stops at the first decision.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.gates_models import noisy, original, rounded, rows, scores
from catalog.tasks import TASKS
from gates.evidence import Check, Document, Evidence, Sizes
from gates.judging.verdict import judge
from gates.kinds.divergence import KLD, Divergence
from gates.kinds.perplexity import INCREASE, Perplexity
from gates.kinds.tail import Tail, quantile
from gates.spec import Gates
from gates.statistics.estimate import Estimate
from gates.statistics.sequential import interim_looks

PLANS: dict[str, tuple[int, ...]] = {"16": (16,), "32": (32,), "64": (64,), "128": (128,), "looks": interim_looks(256)}
TIMES = {"at": 1.0, "half": 2.0, "twice": 0.5}
MEASURES: dict[str, Callable[[Sequence[Document], float], Estimate | None]] = {
    "kld": KLD.over,
    "increase": INCREASE.over,
    "p999": quantile,
}
MOST = {"at": 0.05, "twice": 0.0}
LEAST = {"half": 0.9, "identical": 1.0}
SIZES = Sizes(original_bytes=2, artifact_bytes=1, expected_bytes=1, ratio=0.5)
SANITY = TASKS["text-generation"].sanity
SOUND = tuple(Check(name=name, passed=True, detail="") for name in SANITY)


def evidence(documents: list[Document], plan: tuple[int, ...], look: int) -> Evidence:
    """Build the evidence that a look at the first `plan[look]` documents would write."""
    return Evidence.model_construct(  # type: ignore[call-arg]
        available=plan[-1],
        looks=plan[: look + 1],
        documents=tuple(documents[: plan[look]]),
        chat=(),
        summary=None,
        size=SIZES,
        checks=SOUND,
        tasks={},
        speed=None,
    )


def unchanged(document: Document) -> Document:
    """Return what an identical copy would have scored."""
    same = {"kld": 0.0, "loss": document.sums["loss_original"]}
    tops = {name: (0.0,) * len(divergences) for name, divergences in document.tops.items()}
    return document.model_copy(update={"sums": document.sums | same, "tops": tops})


def passes(documents: list[Document], plan: tuple[int, ...], gates: Gates) -> bool:
    """Judge at every look until decided."""
    for look in range(len(plan)):
        verdict = judge(evidence(documents, plan, look), gates)
        if not verdict.more:
            return verdict.passed
    raise AssertionError("the last look always decides")


def gates(quantity: str, tolerance: float) -> Gates:
    """Ask for one tolerance only."""
    off: dict[str, None] = {"divergence": None, "perplexity": None, "size": None}
    if quantity == "kld":
        return Gates.model_validate(off | {"divergence": Divergence(max_kld=tolerance)})
    if quantity == "p999":
        return Gates.model_validate(off | {"tail": Tail(max_p999=tolerance)})
    return Gates.model_validate(off | {"perplexity": Perplexity(max_increase=tolerance)})


def main() -> None:
    """Print the share of comparisons that pass, per damage, gate and number of documents."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--comparisons", type=int, default=500)
    comparisons = parser.parse_args().comparisons
    texts, sound = rows(), original()
    damaged = {"int4": rounded(4), "int3": rounded(3), "noise 10 %": noisy(0.1), "noise 30 %": noisy(0.3)}
    recorded = {name: scores(sound, model, texts) for name, model in damaged.items()}
    identical = [unchanged(document) for document in recorded["int4"]]
    rng = np.random.default_rng(20240229)
    rates: dict[tuple[str, str, str], Counter[str]] = {}
    for name, documents in track(recorded.items(), "comparing"):
        for quantity in MEASURES:
            estimate = MEASURES[quantity](documents, 0.95)
            assert estimate
            truth = estimate.value
            asked = {case: gates(quantity, truth * times) for case, times in TIMES.items()}
            for plan, sizes in PLANS.items():
                count = rates.setdefault((name, quantity, plan), Counter())
                for _ in range(comparisons):
                    drawn = rng.integers(0, len(documents), sizes[-1])
                    sample = [documents[i] for i in drawn]
                    count.update(case for case, tolerance in asked.items() if passes(sample, sizes, tolerance))
                    count["identical"] += passes([identical[i] for i in drawn], sizes, asked["twice"])
    show(rates, comparisons)


def show(rates: dict[tuple[str, str, str], Counter[str]], comparisons: int) -> None:
    """Print the table and write it to `bench/results/gates.json`."""
    cases = ("at", "half", "twice", "identical")
    table = Table(title=f"share that passes, of {comparisons} comparisons")
    for column in ("damage", "gate", "documents", *cases):
        table.add_column(column)
    pooled = {("all", "all", plan): sum((c for k, c in rates.items() if k[2] == plan), Counter()) for plan in PLANS}
    for key, count in (rates | pooled).items():
        total = comparisons * (len(rates) // len(PLANS) if key in pooled else 1)
        shares = {case: count[case] / total for case in cases}
        wrong = {c for c, most in MOST.items() if shares[c] > most} | {
            c for c, least in LEAST.items() if shares[c] < least
        }
        table.add_row(*key, *(f"[red]{shares[c]:.1%}[/]" if c in wrong else f"{shares[c]:.1%}" for c in cases))
    Console().print(table)
    results = Path(__file__).parent / "results" / "gates.json"
    results.parent.mkdir(exist_ok=True)
    passed = [
        dict(zip(("damage", "gate", "documents"), key, strict=True)) | dict(count) for key, count in rates.items()
    ]
    results.write_text(json.dumps({"comparisons": comparisons, "passed": passed}, indent=1) + "\n")


if __name__ == "__main__":
    main()
