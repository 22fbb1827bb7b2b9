"""Error rates and documents of whole nights: ladders of eight rungs, judged until one passes.

    python -m bench.nights [--nights 10000]

Documents are resampled from the recorded divergences and loss changes per token of damaged copies of the demo model, whole
and cut to unequal lengths, so that every rung's damage is known exactly. A rung fares on a document as that document did,
or, in a share 1 - correlation of cases, as another of like length. All eight rungs are at the tolerance, at half of it, at
a tenth or at twice. What must hold: at the tolerance at most 5 % of nights release anything, at half at least 90 %, at
twice none; documents at most 0.7 of what was scored before on average, and half where damage is far within.

`looks`, over all nights, is what is built: 8, 16, 32, ... documents, the risk of a release's first attempt divided among
rungs and looks, no more documents once they would hardly save it. The others, over a tenth of the nights: `before`: 64,
128, each rung at the full 5 %; `betting` (Waudby-Smith and Ramdas, Journal of the Royal Statistical Society B 86, 2024): a
mixture of bets that looks after every document, divergences per document clipped at four times the tolerance, the same
risk divided among rungs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy.special import ndtr, stdtrit

from bench.gates_models import noisy, original, rounded, rows
from bench.table import Column, report, verdicts
from gates.clients.client import Loaded
from gates.judging.judgement import Wording, row
from gates.statistics.estimate import careful
from gates.statistics.intervals import estimate, refused
from gates.statistics.sequential import HOPELESS, interim_looks, look_at, spent

Array = NDArray[np.float64]
RUNGS, DOCUMENTS, RISK = 8, 128, 0.05
FIRST_ATTEMPT = 0.5
"""Share of the risk that the first attempt at a release may take (`flows.planning.error_budget`)."""
CORRELATIONS = (0.5, 0.8, 0.95, 0.99)
CASES = {"at": 1.0, "half": 2.0, "tenth": 10.0, "twice": 0.5}
SHORTEST = 16
"""Tokens of a cut document at the least."""
CLIP = 4.0
"""Largest divergence of a document in betting, in tolerances."""
NIGHTS_AT_ONCE = 500
COLUMNS = (
    Column("documents_of", "documents", str),
    Column("case", "damage", str),
    Column("rule", "rule", str),
    Column("correlation", "correlation", "{:g}".format),
    Column("released", "nights with a release", "{:.2%}".format),
    Column("scored", "documents a night", "{:.0f}".format),
)


@dataclass(frozen=True)
class Pool:
    """Recorded documents, shortest first: an amount and tokens of each."""

    name: str
    amounts: Array
    tokens: Array

    def night(self, rng: np.random.Generator, nights: int, correlation: float) -> tuple[Array, Array]:
        """Draw amounts and tokens of the same documents under every rung, (nights, RUNGS, DOCUMENTS)."""
        count, alike = len(self.tokens), self._alike
        drawn = rng.integers(0, count, (nights, 1, DOCUMENTS))
        other = np.clip(drawn - alike // 2, 0, count - alike) + rng.integers(0, alike, (nights, RUNGS, DOCUMENTS))
        chosen = np.where(rng.random((nights, RUNGS, DOCUMENTS)) < correlation, drawn, other)
        tokens = np.broadcast_to(self.tokens[drawn], chosen.shape)
        return self.amounts[chosen] / self.tokens[chosen] * tokens, tokens

    @property
    def _alike(self) -> int:
        return max(len(self.tokens) // 8, 8) if self.tokens[0] < self.tokens[-1] else len(self.tokens)

    def truth(self, correlation: float) -> float:
        """Return the amount per token that such nights have on average, exactly."""
        count, alike, each = len(self.tokens), self._alike, self.amounts / self.tokens
        first = np.clip(np.arange(count) - alike // 2, 0, count - alike)
        summed = np.concatenate(([0.0], each.cumsum()))
        others = (summed[first + alike] - summed[first]) / alike
        return float((self.tokens * (correlation * each + (1 - correlation) * others)).sum() / self.tokens.sum())


def per_token(first: Loaded, second: Loaded, texts: list[torch.Tensor]) -> Array:
    """Return divergence and loss change of every position, (2, documents, positions)."""
    measured = []
    for ids in texts:
        own, theirs = (model.logits(ids)[:-1].double().log_softmax(-1) for model in (first, second))
        kld = (own.exp() * (own - theirs)).sum(-1)
        change = (own - theirs).gather(-1, ids[1:, None]).squeeze(-1)
        measured.append(torch.stack([kld, change]))
    return torch.stack(measured, 1).numpy()


def pools() -> Iterator[Pool]:
    """Record the documents of damaged models, whole and cut."""
    texts, sound, rng = rows(), original(), np.random.default_rng(0)
    length = min(map(len, texts))
    texts = [text[:length] for text in texts]
    cuts = np.exp(rng.uniform(np.log(SHORTEST), np.log(length - 1), len(texts))).astype(int)
    for damage, model in (("int4", rounded(4)), ("int3", rounded(3)), ("noise", noisy(0.3))):
        for what, values in zip(("divergence", "loss"), per_token(sound, model, texts), strict=True):
            yield Pool(f"{damage} {what}", values.sum(1), np.full(len(values), float(values.shape[1])))
            # What is left of a cut document is one, too.
            parts = [(row[:cut], row[cut:]) for row, cut in zip(values, cuts, strict=True)]
            pieces = sorted((part for both in parts for part in both if len(part) >= SHORTEST), key=len)
            sizes = np.array([float(len(part)) for part in pieces])
            yield Pool(f"{damage} {what}, cut", np.array([part.sum() for part in pieces]), sizes)


Judged = tuple[NDArray[np.bool_], NDArray[np.int64]]
"""Whether each rung passes, and documents scored until that was decided; both (nights, RUNGS)."""


def looks(amounts: Array, tokens: Array, tolerance: float) -> Judged:
    """Judge as the gates do; the standard error is the plain one where they take what the bound implies."""
    return _at(amounts, tokens, tolerance, interim_looks(DOCUMENTS), FIRST_ATTEMPT * RISK / RUNGS, HOPELESS)


def before(amounts: Array, tokens: Array, tolerance: float) -> Judged:
    """Judge at 64 and all documents, every rung at the full risk."""
    return _at(amounts, tokens, tolerance, (64, DOCUMENTS), RISK, None)


def _at(
    amounts: Array, tokens: Array, tolerance: float, plan: tuple[int, ...], risk: float, hopeless: float | None
) -> Judged:
    shape = amounts.shape[:2]
    amounts, tokens = amounts.reshape(-1, DOCUMENTS), tokens.reshape(-1, DOCUMENTS)
    passed, scored, left = np.zeros(len(amounts), bool), np.full(len(amounts), DOCUMENTS), np.arange(len(amounts))
    for number, count in enumerate(plan):
        previous = plan[number - 1] if number else 0
        share = spent(count, DOCUMENTS) - spent(previous, DOCUMENTS) if hopeless else (count - previous) / DOCUMENTS
        taken = careful(share * risk, count)
        y, x = amounts[left, :count], tokens[left, :count]
        passes = refused(y - tolerance * x, taken)
        last = careful((1 - spent(plan[-2], DOCUMENTS)) * risk, DOCUMENTS)
        fails = refused(tolerance * x - y, taken) if hopeless is None else _chance(y, x, tolerance, last) < hopeless
        passed[left[passes]] = True
        scored[left[passes | fails]] = count
        left = left[~(passes | fails)]
    return passed.reshape(shape), scored.reshape(shape)


def _chance(y: Array, x: Array, tolerance: float, risk: float) -> Array:
    """Return the chance of passing once all documents are scored (`gates.statistics.sequential.outlook`)."""
    count, total = y.shape[-1], x.sum(-1)
    value = y.sum(-1) / total
    error = np.sqrt(((y - value[:, None] * x) ** 2).sum(-1) * count / (count - 1)) / total
    margin = stdtrit(DOCUMENTS - 1, 1 - risk) * error * np.sqrt(count / DOCUMENTS)
    return np.asarray(ndtr((tolerance - margin - value) / (error * np.sqrt(max(1 - count / DOCUMENTS, 1e-12)))))


def betting(amounts: Array, tokens: Array, tolerance: float) -> Judged:
    """Judge after every document by a mixture of bets that the clipped amount per token is below the tolerance."""
    weight = tokens / tokens.max()
    excess = weight * (np.minimum(amounts / tokens / tolerance, CLIP) - 1)
    shares = np.array([0.1, 0.25, 0.5, 0.75, 0.99])
    won = _wealth(-excess, shares / (CLIP - 1)) >= np.log(RUNGS / (FIRST_ATTEMPT * RISK))
    lost = _wealth(np.maximum(excess, -1), shares) >= np.log(1 / RISK)
    first = np.where(won.any(-1), won.argmax(-1), DOCUMENTS)
    last = np.where(lost.any(-1), lost.argmax(-1), DOCUMENTS)
    return first < np.minimum(last, DOCUMENTS), np.minimum(np.minimum(first, last) + 1, DOCUMENTS)


def _wealth(gain: Array, bets: Array) -> Array:
    """Return the logarithm of the mean capital of constant bets after each document."""
    capitals = np.stack([np.log1p(bet * gain).cumsum(-1) for bet in bets])
    most = capitals.max(0)
    return np.asarray(most + np.log(np.exp(capitals - most).mean(0)))


RULES: dict[str, Callable[[Array, Array, float], Judged]] = {"before": before, "looks": looks, "betting": betting}


def climbed(judged: Judged) -> tuple[float, float]:
    """Return the share of nights that release something, and the documents scored a night until then."""
    passed, scored = judged
    tried = np.arange(RUNGS) <= np.where(passed.any(1), passed.argmax(1), RUNGS - 1)[:, None]
    return float(passed.any(1).mean()), float((scored * tried).sum(1).mean())


def agreement(pool: Pool, rng: np.random.Generator, nights: int = 20) -> float:
    """Return the share of rungs on which the gates themselves, look by look, come to what `looks` does."""
    wording = Wording(side="at most", words="", number="{:g}", label="", figure="{:g}")
    plan, same, confidence = interim_looks(DOCUMENTS), 0, 1 - FIRST_ATTEMPT * RISK / RUNGS
    for case in CASES.values():
        amounts, tokens = pool.night(rng, nights, 0.5)
        tolerance = case * pool.truth(0.5)
        passed, _ = looks(amounts, tokens, tolerance)
        for night, rung in np.ndindex(nights, RUNGS):
            for number, count in enumerate(plan):
                look = look_at(plan[: number + 1], DOCUMENTS, confidence)
                y, x = amounts[night, rung, :count], tokens[night, rung, :count]
                verdict = row("", wording, estimate(y, x, look.confidence), tolerance, look)
                if verdict.outcome != "undecided" or verdict.hopeless:
                    break
            same += (verdict.outcome == "passed") == bool(passed[night, rung])
    return same / (nights * RUNGS * len(CASES))


def simulated(pool: Pool, nights: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Simulate nights of every correlation and damage under every rule."""
    for correlation in CORRELATIONS:
        truth = pool.truth(correlation)
        sums = {(case, rule): np.zeros(3) for case in CASES for rule in RULES}
        rounds = max(nights // NIGHTS_AT_ONCE, 1)
        for number in range(rounds):
            amounts, tokens = pool.night(rng, min(nights, NIGHTS_AT_ONCE), correlation)
            for case, rule in sums:
                if rule == "looks" or number % 10 == 0:
                    outcome = climbed(RULES[rule](amounts, tokens, CASES[case] * truth))
                    sums[case, rule] += (*outcome, 1)
        for (case, rule), (released, scored, times) in sums.items():
            named = {"documents_of": pool.name, "case": case, "rule": rule, "correlation": correlation}
            yield named | {"released": released / times, "scored": scored / times}


def main() -> None:
    """Print the table, write `bench/results/nights.json`, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=10_000, help="of each pool of documents, correlation and damage")
    nights, rng = parser.parse_args().nights, np.random.default_rng(20240229)
    recorded = list(pools())
    lines = [line for pool in track(recorded, "simulating") for line in simulated(pool, nights, rng)]
    report("nights", f"{nights} nights of {RUNGS} rungs, {DOCUMENTS} documents", COLUMNS, lines)

    def over(rule: str, case: str, what: str) -> list[float]:
        return [line[what] for line in lines if (line["rule"], line["case"]) == (rule, case)]

    def documents(rule: str, *cases: str) -> float:
        return float(np.mean([value for case in cases for value in over(rule, case, "scored")]))

    checks = [
        ("worst of all: nights that release at the tolerance", max(over("looks", "at", "released")), "<=", RISK),
        ("worst of all: nights that release at half", min(over("looks", "half", "released")), ">=", 0.9),
        ("worst of all: nights that release at twice", max(over("looks", "twice", "released")), "<=", 0.0),
        ("documents over before, all cases", documents("looks", *CASES) / documents("before", *CASES), "<=", 0.7),
        ("the same far within", documents("looks", "tenth") / documents("before", "tenth"), "<=", 0.5),
        ("rungs on which the gates agree", min(agreement(pool, rng) for pool in recorded), ">=", 0.98),
    ]
    if not verdicts(checks):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
