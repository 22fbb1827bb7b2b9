"""From sensitivities to recipes: the front against brute force, and the ladders that budgets make."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from flows.execution.steps import note
from flows.manifest.load import load
from flows.manifest.model import Auto, Search
from flows.planning.mixed_precision import Mix, ladder, mixes_of, size_of
from flows.planning.pareto import front
from flows.planning.plan import plan_job
from flows.store import Store
from quantizers.recipe import Recipe
from quantizers.request import GroupCost, SensitivityResult
from tests.flows.conftest import room
from tests.flows.results import artifact, job_of, planned

BASE = Recipe(group_size=64)
DTYPES = {"int3": 3, "int4": 4, "int8": 8}


def made_up(groups: int, dtypes: tuple[str, ...], seed: int = 0) -> list[GroupCost]:
    draw = random.Random(seed)
    costs = []
    for group in range(groups):
        weights, harm = 8 * draw.randint(1000, 6000), draw.uniform(0.1, 3)
        costs.append(
            GroupCost(
                linears=(f"model.layers.{group}.a", f"model.layers.{group}.b"),
                bytes={d: weights * DTYPES[d] // 8 + 16 for d in dtypes},
                kld={d: harm * 4.0 ** -DTYPES[d] for d in dtypes},
            )
        )
    return costs


def answer(
    groups: int = 16, dtypes: tuple[str, ...] = ("int4", "int8"), fixed: tuple[str, ...] = ()
) -> SensitivityResult:
    return SensitivityResult(
        choices=tuple(made_up(groups, dtypes)), fixed=fixed, rest_bytes=1000, probe_tokens=1, tools={}, compute=""
    )


def harm(sensitivities: SensitivityResult, mix: Mix) -> float:
    return sum(choice.kld[dtype] for choice, dtype in zip(sensitivities.choices, mix, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_the_front_is_that_of_all_mixes(seed: int) -> None:
    choices = made_up(7, tuple(DTYPES), seed)
    whole = answer().model_copy(update={"choices": tuple(choices)})
    every = sorted((size_of(whole, mix), harm(whole, mix)) for mix in itertools.product(DTYPES, repeat=7))
    best: list[tuple[int, float]] = []
    for size, kld in every:
        if not best or kld < best[-1][1] - 1e-15:
            best.append((size, kld))
    pareto = front(choices)
    assert pareto.bytes.tolist() == [size for size, _ in best]
    assert pareto.kld.tolist() == pytest.approx([kld for _, kld in best])
    for index in range(0, len(best), 20):
        mix = pareto.mix(index)
        assert (size_of(whole, mix), harm(whole, mix)) == pytest.approx((pareto.bytes[index], pareto.kld[index]))
    assert [pareto.fitting(room) for room in (best[0][0] - 1, best[3][0], best[4][0] - 1)] == [-1, 3, 3]


def test_a_thinned_front_misses_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = made_up(14, tuple(DTYPES))
    exact = front(choices)
    monkeypatch.setattr("flows.planning.pareto.POINTS", 60)
    thin = front(choices)
    assert len(thin.bytes) <= 61 < len(exact.bytes)
    for size in np.linspace(exact.bytes[0], exact.bytes[-1], 50):
        assert thin.kld[thin.fitting(size + 0.05 * float(np.ptp(exact.bytes)))] <= exact.kld[exact.fitting(size)] * (
            1 + 1e-9
        )


def test_a_budget_of_quality_climbs_in_small_steps_to_the_widest() -> None:
    sensitivities = answer()
    search = Search(auto=Auto(max_kld=0.03), base=BASE)
    mixes = mixes_of(search, sensitivities, 0)
    sizes = [sensitivities.rest_bytes + size_of(sensitivities, mix) for mix in mixes]
    assert len(mixes) == 8 and mixes[-1] == ("int8",) * 16
    assert 0.9 * 0.033 < harm(sensitivities, mixes[0]) <= 0.033
    assert all(one < other <= 1.03 * one for one, other in itertools.pairwise(sizes[:-1]))
    rungs = ladder(search, sensitivities, 0, None)
    assert len({rung.name for rung in rungs}) == len({rung.recipe for rung in rungs}) == 8
    assert (rungs[-1].name, rungs[-1].recipe) == ("w8-rtn-g64", Recipe(dtype="int8", group_size=64))
    assert rungs[0].recipe.overrides and not any(rung.recipe.calibrated for rung in rungs)


def test_mixes_that_the_size_gate_would_refuse_are_not_built() -> None:
    sensitivities = answer()
    search = Search(auto=Auto(max_kld=0.03), base=BASE)
    sizes = [sensitivities.rest_bytes + size_of(sensitivities, mix) for mix in mixes_of(search, sensitivities, 0)]
    assert len(ladder(search, sensitivities, 0, sizes[2])) == 3
    assert len(ladder(search, sensitivities, 0, 1.0)) == 1


def test_a_budget_of_size_is_the_mix_of_least_divergence_that_fits() -> None:
    sensitivities = answer(6, tuple(DTYPES))
    original = 2 * sensitivities.rest_bytes + sum(choice.bytes["int8"] for choice in sensitivities.choices) * 2
    search = Search(auto=Auto(max_ratio=0.4, dtypes=tuple(DTYPES)), base=BASE)
    (mix,) = mixes_of(search, sensitivities, original)
    fitting = [
        harm(sensitivities, other)
        for other in itertools.product(DTYPES, repeat=6)
        if sensitivities.rest_bytes + size_of(sensitivities, other) <= 0.4 * original
    ]
    assert harm(sensitivities, mix) == pytest.approx(min(fitting))
    assert len(ladder(search, sensitivities, original, None)) == 1


def test_linears_outside_the_blocks_keep_the_dtype_of_the_base() -> None:
    sensitivities = answer(4, fixed=("lm_head",))
    base = Recipe(dtype="int4", group_size=64, skip=())
    recipe = ladder(Search(auto=Auto(max_kld=1e-9), base=base), sensitivities, 0, None)[-1].recipe
    assert (recipe.dtype, recipe.overrides) == ("int8", {"lm_head": "int4"})


def auto_room(directory: Path) -> Path:
    manifest = room(directory)
    text = manifest.read_text()
    preset = "{preset: w4-rtn-g64, auto: {max_kld: 0.01}}"
    manifest.write_text(text.replace("int4: w4-rtn-g64", f"int4: {preset}"))
    return manifest


def test_recipes_follow_once_the_sensitivities_are_known(tmp_path: Path) -> None:
    manifest, store = auto_room(tmp_path), Store(tmp_path / "home")
    rows = planned(manifest, store.home)
    assert "sensitivity" in rows["int4"]["steps"] and "sensitivity" not in rows["int8"]["steps"]
    assert (rows["int4"]["recipe"], rows["int4"]["key"]) == ("auto-w4-rtn-g64", None)
    job = job_of(manifest, store.home)
    search = job.target.search
    assert search is not None and not job.recipes_known
    assert job.manifest.gates.divergence is not None and job.manifest.gates.divergence.max_kld == 0.01
    note(store, job.sensitivity(search), answer())
    row = planned(manifest, store.home)["int4"]
    assert "sensitivity" not in row["steps"] and row["recipe"].startswith("w6") and row["key"]
    tighter = manifest.with_name("tighter.yaml")
    tighter.write_text(manifest.read_text().replace("max_kld: 0.01", "max_kld: 0.02"))
    other = job_of(tighter, store.home)
    assert plan_job(other, store).rung != plan_job(job, store).rung, "another budget, from the same sensitivities"


def test_an_artifact_of_the_base_is_not_taken_for_that_of_the_search(tmp_path: Path) -> None:
    manifest, store = auto_room(tmp_path), Store(tmp_path / "home")
    plain = job_of(room(tmp_path / "plain"), store.home)
    note(store, plain.quantize(plain.target.rungs[0]), artifact())
    assert "quantize" in plan_job(job_of(manifest, store.home), store).steps


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_share_of_weights_is_held_by_the_least_sensitive(share: float) -> None:
    """Held against all mixes: as much in four bits as asked for, and none of that kind diverges less."""
    sensitivities = answer(10)
    search = Search(auto=Auto(share=share), base=BASE)
    [mix] = mixes_of(search, sensitivities, 0)
    weights = [choice.bytes["int8"] - choice.bytes["int4"] for choice in sensitivities.choices]

    def narrow(mix: Mix) -> float:
        return sum(w for w, dtype in zip(weights, mix, strict=True) if dtype == "int4") / sum(weights)

    every = [each for each in itertools.product(("int4", "int8"), repeat=10) if narrow(each) >= share]
    assert narrow(mix) >= share and harm(sensitivities, mix) == pytest.approx(
        min(harm(sensitivities, m) for m in every)
    )
    [rung] = ladder(search, sensitivities, 10**9, None)
    assert set(rung.recipe.dtypes_of(name for c in sensitivities.choices for name in c.linears).values()) == {
        "int4",
        "int8",
    }


def test_a_ratio_of_our_engine_is_a_search_and_of_nncf_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "model: {source: a/b}\ntargets:\n  ours: {preset: ov-w4-rtn-g64, ratio: 0.8}\n  theirs: {preset: ov-w4-g64, ratio: 0.8}\n"
    )
    targets = load(path).targets
    assert targets["ours"].search == Search(
        auto=Auto(share=0.8, dtypes=("int4", "int8")), base=targets["ours"].rungs[0].recipe
    )
    assert targets["theirs"].search is None and targets["theirs"].rungs[0].recipe.ratio == 0.8
