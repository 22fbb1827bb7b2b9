"""How exactly a stored baseline gives the KL divergence: kept log-probabilities, with the rest lumped or drawn from.

    python -m bench.gates_storage [--documents 40]

Compares with the divergence from full distributions, on the demo model with weights rounded to 3, 4 and 8 bits.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table

from bench.gates_models import original, rounded, rows, score
from gates.evaluation import scoring

KEPT = (16, 64, 128, 512)


def divergences(first: torch.Tensor, artifact: torch.Tensor, ids: torch.Tensor, seed: int) -> dict[str, float]:
    """Summed divergence over one document: exact, and from each stored form."""
    log_p, log_q = (logits[:-1].double().log_softmax(-1) for logits in (first, artifact))
    estimates = {"exact": float((log_p.exp() * (log_p - log_q)).sum())}
    for kept in KEPT:
        top_p, top = log_p.topk(kept)
        top_q = log_q.gather(-1, top)
        rest_p, rest_q = (log.scatter(-1, top, -torch.inf).logsumexp(-1) for log in (log_p, log_q))
        lumped = (top_p.exp() * (top_p - top_q)).sum() + (rest_p.exp() * (rest_p - rest_q)).sum()
        estimates[f"lumped {kept}"] = float(lumped)
        scoring.KEPT = kept
        estimates[f"drawn {kept}"] = score(seed, ids, first, artifact).sums["kld"]
    return estimates


def main() -> None:
    """Print the relative error of each form."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=40)
    count = parser.parse_args().documents
    texts, sound = rows(count), original()
    table = Table(title=f"KL divergence from stored log-probabilities, {count} documents, vocabulary 2048")
    for column in ("bits", "exact KLD", "stored", "relative error", "bytes per position"):
        table.add_column(column)
    for bits in (3, 4, 8):
        artifact = rounded(bits)
        totals: dict[str, float] = {}
        for index, ids in enumerate(texts):
            for name, value in divergences(sound.logits(ids), artifact.logits(ids), ids, index).items():
                totals[name] = totals.get(name, 0.0) + value
        tokens = sum(len(row) - 1 for row in texts)
        for name in list(totals)[1:]:
            size = 8 * int(name.split()[1]) + 8 + (8 * scoring.DRAWN if name.startswith("drawn") else 0)
            error = totals[name] / totals["exact"] - 1
            table.add_row(str(bits), f"{totals['exact'] / tokens:.3e}", name, f"{error:+.3%}", str(size))
    Console().print(table)


if __name__ == "__main__":
    main()
