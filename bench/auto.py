"""`auto` against exhaustive search: `python -m bench.auto`.

On the demo model, every assignment of int4 and int8 to the attention and the MLP of each block, 256 recipes rounded to
nearest, is scored on held-out text. For several budgets of divergence, the smallest that keeps within it is compared
with the recipe at which auto's ladder stops, on the same units and on its own, which are finer; its builds are counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bench.models import MODEL
from bench.score import calibration, loaded, rows_of, score, torch_logits
from bench.table import Column, report, verdicts
from flows.manifest.model import Auto, Search
from flows.planning.mixed_precision import Mix, ladder, mixes_of, size_of
from quantizers.entrypoint import answer, run
from quantizers.recipe import Recipe
from quantizers.request import GroupCost, Request, SensitivityRequest, SensitivityResult

BASE = Recipe(group_size=64)
DTYPES = ("int4", "int8")
BUDGETS = (0.012, 0.009, 0.006, 0.003, 0.001)
PARTS = ("self_attn", "mlp")
COLUMNS = (
    Column("budget", "KLD at most", "{:g}".format),
    Column("best_bytes", "best of 256 (bytes)", "{:,}".format),
    Column("grid_ratio", "auto on these units / best", "{:.3f} x".format),
    Column("grid_builds", "builds", str),
    Column("ratio", "auto / best", "{:.3f} x".format),
    Column("builds", "builds", str),
    Column("kld", "its KLD", "{:.5f}".format),
    Column("predicted", "predicted", "{:.5f}".format),
)


class Mixes:
    """The demo model with any mix of dtypes, scored on held-out rows; weights are those the stock loader computes with."""

    def __init__(self, artifacts: dict[str, Path]) -> None:
        self.rows = rows_of("evaluation", MODEL)
        self._model = loaded(MODEL)
        self._layers = cast(nn.ModuleList, self._model.get_submodule("model.layers"))
        self._weights = {dtype: _weights(path) for dtype, path in artifacts.items()}
        self._hidden, self._arguments = self._first()
        original = self._hidden
        for layer in self._layers:
            original = layer(original, **self._arguments)
        self._original = self._logits(original)

    def _first(self) -> tuple[Tensor, dict[str, Any]]:
        seen: list[tuple[Tensor, dict[str, Any]]] = []
        hook = self._layers[0].register_forward_pre_hook(
            lambda _, args, kwargs: seen.append((args[0], kwargs)), with_kwargs=True
        )
        self._model(self.rows, use_cache=False)
        hook.remove()
        return seen[0]

    def _logits(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self._model.get_submodule("model.norm")(hidden)
        logs: Tensor = self._model.get_submodule("lm_head")(normed).log_softmax(-1)
        return logs

    def _divergence(self, hidden: Tensor) -> float:
        logs = self._logits(hidden)
        return float((self._original.exp() * (self._original - logs)).sum(-1).double().mean())

    def store(self, linear: str, dtype: str) -> None:
        """Store one linear, by its full name, in a dtype."""
        self._model.get_submodule(linear).weight.data.copy_(self._weights[dtype][f"{linear}.weight"])  # type: ignore[operator,union-attr]

    def every(self, groups: dict[tuple[int, str], list[str]]) -> Iterator[tuple[Mix, float]]:
        """Every assignment to the parts of each block, in the order of `groups`, and its divergence."""
        yield from self._below(0, self._hidden, groups, ())

    def _below(
        self, index: int, hidden: Tensor, groups: dict[tuple[int, str], list[str]], above: Mix
    ) -> Iterator[tuple[Mix, float]]:
        if index == len(self._layers):
            yield above, self._divergence(hidden)
            return
        for dtypes in product(DTYPES, repeat=len(PARTS)):
            for part, dtype in zip(PARTS, dtypes, strict=True):
                for linear in groups[index, part]:
                    self.store(linear, dtype)
            output = self._layers[index](hidden, **self._arguments)
            yield from self._below(index + 1, output, groups, (*above, *dtypes))

    def one(self, sensitivities: SensitivityResult, mix: Mix) -> float:
        """Divergence of one mix."""
        for choice, dtype in zip(sensitivities.choices, mix, strict=True):
            for linear in choice.linears:
                self.store(linear, dtype)
        hidden = self._hidden
        for layer in self._layers:
            hidden = layer(hidden, **self._arguments)
        return self._divergence(hidden)


def _weights(artifact: Path) -> dict[str, Tensor]:
    model = loaded(artifact)
    model(torch.zeros(1, 2, dtype=torch.long))  # compressed-tensors unpacks at the first call
    return {f"{n}.weight": m.weight.data for n, m in model.named_modules() if isinstance(m, nn.Linear)}


def merged(sensitivities: SensitivityResult) -> SensitivityResult:
    """The same sensitivities for whole parts of blocks: what they add up to."""
    parts: dict[tuple[int, str], list[GroupCost]] = {}
    for choice in sensitivities.choices:
        _, _, index, part, _ = choice.linears[0].split(".")
        parts.setdefault((int(index), part), []).append(choice)
    whole = tuple(
        GroupCost(
            linears=tuple(name for choice in choices for name in choice.linears),
            bytes={d: sum(choice.bytes[d] for choice in choices) for d in DTYPES},
            kld={d: sum(choice.kld[d] for choice in choices) for d in DTYPES},
        )
        for choices in parts.values()
    )
    return sensitivities.model_copy(update={"choices": whole})


@torch.no_grad()
def main() -> None:
    """Print the table, write `bench/results/auto.json`, and judge."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        sensitivities = answer(
            SensitivityRequest(model=MODEL, recipe=BASE, dtypes=DTYPES, calibration=calibration(64)),
            directory / "answer",
        )
        whole = {dtype: BASE.model_copy(update={"dtype": dtype}) for dtype in DTYPES}
        run(Request(model=MODEL, targets=whole), directory / "made")
        mixes = Mixes({dtype: directory / "made" / dtype for dtype in DTYPES})
        grid = merged(sensitivities)
        groups = {(int(c.linears[0].split(".")[2]), c.linears[0].split(".")[3]): list(c.linears) for c in grid.choices}
        scored = dict(mixes.every(groups))
        rows = [_compare(budget, sensitivities, grid, scored, mixes, directory) for budget in BUDGETS]
    report("auto", "auto and the best of 256 mixes of int4 and int8, groups of 64", COLUMNS, rows)
    checks = [
        (f"KLD ≤ {row['budget']:g}: auto / best of all", row[key], "<=", 1.05)
        for row in rows
        for key in ("grid_ratio", "ratio")
    ]
    if not verdicts(checks):
        raise SystemExit(1)


def _compare(
    budget: float,
    sensitivities: SensitivityResult,
    grid: SensitivityResult,
    scored: dict[Mix, float],
    mixes: Mixes,
    scratch: Path,
) -> dict[str, Any]:
    best = min(grid.rest_bytes + size_of(grid, mix) for mix, kld in scored.items() if kld <= budget)
    search = Search(auto=Auto(max_kld=budget), base=BASE)
    on_grid, grid_builds = next((m, n) for n, m in enumerate(mixes_of(search, grid, 0), 1) if scored[m] <= budget)
    mix, builds = next(
        (m, n) for n, m in enumerate(mixes_of(search, sensitivities, 0), 1) if mixes.one(sensitivities, m) <= budget
    )
    rung = ladder(search, sensitivities, 0, None)[builds - 1]
    run(Request(model=MODEL, targets={f"{budget:g}": rung.recipe}), scratch / "passing")
    kld = score(MODEL, torch_logits(loaded(scratch / "passing" / f"{budget:g}")))["kld"]
    if kld > budget:
        raise AssertionError(f"{rung.name} was to diverge by {budget} at most, and its artifact diverges by {kld}")
    return {
        "budget": budget,
        "best_bytes": best,
        "grid_ratio": (grid.rest_bytes + size_of(grid, on_grid)) / best,
        "grid_builds": grid_builds,
        "ratio": (sensitivities.rest_bytes + size_of(sensitivities, mix)) / best,
        "builds": builds,
        "recipe": rung.name,
        "kld": kld,
        "predicted": sum(c.kld[dtype] for c, dtype in zip(sensitivities.choices, mix, strict=True)),
    }


if __name__ == "__main__":
    main()
