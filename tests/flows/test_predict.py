"""Predictions against what runs took: the figures that bench/memory.py, bench/depth.py and bench/predictions.py measured."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.execution.steps import note
from flows.files.headers import Tensor
from flows.manifest.errors import ManifestError
from flows.planning.artifact_memory import streaming
from flows.planning.coefficients import IMPORTS
from flows.planning.cost import Cost, gating, looks, quantizing, scoring_original, weights_bytes
from flows.planning.jobs import Job
from flows.planning.original_memory import held
from flows.planning.plan import Plan, plan, read
from flows.planning.predictions import Predictions
from flows.planning.preflight.memory import check_memory
from flows.store import Store
from tests.flows.conftest import quantmill, room
from tests.flows.results import artifact

ERROR = 1.5
SHAPES = {
    "1.1 B": (2048, 256, 5632, 32000, 22),
    "8 B, 4 blocks": (4096, 1024, 14336, 128256, 4),
    "8 B": (4096, 1024, 14336, 128256, 32),
}
"""Hidden size, width of keys, width of the feed-forward, vocabulary, blocks."""
MEASURED = [
    ("1.1 B", "rtn", 0.69e9, 12),
    ("1.1 B", "calibrated", 1.26e9, 232),
    ("8 B, 4 blocks", "rtn", 0.69e9, 11),
    ("8 B, 4 blocks", "calibrated", 3.64e9, 200),
]
"""Shape, recipe, peak bytes and seconds of the whole process on two cores, 32 rows of 256 tokens."""
IR = "format: openvino, symmetric: false, group_size: 64"
MIXTURE = [
    (f"{{{IR}}}", 0.92e9, 30),
    (f"{{{IR}, transform: awq, rounding: compensated}}", 2.77e9, 110),
]
"""Recipe, peak bytes and seconds of a mixture: 6 blocks, 32 experts of 768 channels inside, 2048 outside, 2.2 GB."""


def tensors(hidden: int, keys: int, inner: int, vocabulary: int, blocks: int) -> dict[str, Tensor]:
    linears = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    shapes = {f"model.layers.{n}.{name}.weight": shape for n in range(blocks) for name, shape in linears.items()}
    shapes |= {"model.embed_tokens.weight": (vocabulary, hidden), "lm_head.weight": (vocabulary, hidden)}
    return {name: Tensor("BF16", shape, 2 * shape[0] * shape[1]) for name, shape in shapes.items()}


def mixture() -> dict[str, Tensor]:
    one = tensors(2048, 512, 768, 32000, 6)
    experts = {
        name.replace("mlp.", f"mlp.experts.{number}."): tensor
        for name, tensor in one.items()
        for number in range(32)
        if ".mlp." in name
    }
    return {name: tensor for name, tensor in one.items() if ".mlp." not in name} | experts


def job(tmp_path: Path, recipe: str, shape: str) -> Job:
    manifest = room(tmp_path)
    written = {"rtn": "w4-rtn-asym-g64", "calibrated": "w4-awq-compensated-asym-g64"}.get(recipe, recipe)
    manifest.write_text(
        "model: {source: ./model}\n"
        f"targets: {{t: {written}}}\n"
        "calibration: {files: [calibration.jsonl], samples: 32, tokens: 256}\n"
        "evaluation: {files: [evaluation.jsonl], tokens: 256, documents: 64}\n"
    )
    (single,) = (planned.job for planned in plan(read([manifest]), Store(tmp_path / "home")).jobs)
    config = {"hidden_size": SHAPES[shape][0], "vocab_size": SHAPES[shape][3]}
    return replace(single, original=replace(single.original, tensors=tensors(*SHAPES[shape]), config=config))


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the figures were measured on."""
    monkeypatch.setattr("flows.planning.cost.cores", lambda: 2)


def close(cost: Cost, peak: float, seconds: float) -> bool:
    """Whether a cost is near what a process took that imported its libraries itself."""
    cost = cost.then(Cost(0, 0, IMPORTS))
    return peak / ERROR < cost.memory_bytes < ERROR * peak and seconds / ERROR < cost.seconds < ERROR * seconds


@pytest.mark.parametrize(("shape", "recipe", "peak", "seconds"), MEASURED)
def test_a_quantizing_step_is_predicted(shape: str, recipe: str, peak: float, seconds: float, tmp_path: Path) -> None:
    single = job(tmp_path, recipe, shape)
    cost = quantizing([(single, single.target.rungs[0])])
    assert close(cost, peak, seconds), cost


@pytest.mark.parametrize(("recipe", "peak", "seconds"), MIXTURE)
def test_experts_in_ir_are_predicted(recipe: str, peak: float, seconds: float, tmp_path: Path) -> None:
    single = job(tmp_path, recipe, "1.1 B")
    config = {"hidden_size": 2048, "vocab_size": 32000, "num_experts": 32, "num_experts_per_tok": 4}
    single = replace(single, original=replace(single.original, tensors=mixture(), config=config))
    rung = single.target.rungs[0]
    cost = quantizing([(single, rung)])
    assert close(cost, peak, seconds), cost
    kept = rung.model_copy(update={"recipe": rung.recipe.model_copy(update={"format": "compressed-tensors"})})
    assert weights_bytes(single.original, kept) > 2.5 * cost.disk_bytes, "other formats keep the experts"


def test_experts_that_are_stored_in_stacks_are_predicted(tmp_path: Path) -> None:
    single = job(tmp_path, "{dtype: int8, group_size: 128}", "1.1 B")
    stack = Tensor("BF16", (16, 5120, 16384), 2 * 16 * 5120 * 16384)
    stacks = {"model.layers.0.feed_forward.experts.gate_up_proj": stack}
    original = replace(single.original, tensors=stacks, config={"model_type": "llama4_text"})
    size = weights_bytes(original, single.target.rungs[0])
    assert size == stack.elements + 2 * stack.elements // 128


def test_scoring_is_predicted(tmp_path: Path) -> None:
    """Measured with 64 documents of 256 tokens: the original, and an artifact in compressed-tensors."""
    single = job(tmp_path, "rtn", "1.1 B")
    rung = single.target.rungs[0]
    assert close(scoring_original(single), 7.2e9, 390), scoring_original(single)
    made = weights_bytes(single.original, rung)
    cost = gating(single, rung, made, 64)
    assert close(cost, 4.8e9, 170), cost
    assert gating(single, rung, made).seconds < 0.6 * cost.seconds, "the first look is at eight of them"


def judged_both_ways(single: Job, memory: int) -> tuple[Job, Job]:
    """A job that may take so many bytes, judged whole and streamed."""
    given = single.manifest.model_copy(update={"memory_bytes": memory})
    whole, read = (given.model_copy(update={"judge": judge}) for judge in ("stock", "streamed"))
    return replace(single, manifest=whole), replace(single, manifest=read)


@pytest.mark.parametrize(
    ("memory", "blocks"), [(6_000_000_000, (2, 8)), (12_000_000_000, (10, 20)), (10**11, (32, 32))]
)
def test_what_is_unpacked_whole_is_streamed_where_the_manifest_says_so(
    memory: int, blocks: tuple[int, int], tmp_path: Path
) -> None:
    single = job(tmp_path, "rtn", "8 B")
    whole, read = judged_both_ways(single, memory)
    rung = single.target.rungs[0]
    if memory == 6_000_000_000:
        with pytest.raises(ManifestError, match="`judge: streamed` scores it a block at a time"):
            check_memory(whole)
    check_memory(read)
    made = weights_bytes(single.original, rung)
    how, cost = streaming(read, rung, made), gating(read, rung, made)
    assert how.memory_bytes == cost.memory_bytes <= memory
    assert blocks[0] <= how.stock_blocks <= blocks[1]
    assert whole.verdict(rung).key != read.verdict(rung).key


def test_a_graph_is_streamed_in_less_than_it_takes_whole(tmp_path: Path) -> None:
    single = job(tmp_path, "ov-w4-rtn-asym-g64", "8 B")
    rung = single.target.rungs[0]
    whole, read = judged_both_ways(single, 6_000_000_000)
    with pytest.raises(ManifestError, match="`judge: streamed` scores it a block at a time"):
        check_memory(whole)
    check_memory(read)
    made = weights_bytes(single.original, rung)
    how, cost = streaming(read, rung, made), gating(read, rung, made)
    assert how.memory_bytes == cost.memory_bytes <= 6_000_000_000 and 1 < how.stock_blocks < 32
    assert made / 32 / 2 < how.hold_bytes < made / 8


@pytest.mark.parametrize(("memory", "blocks"), [(6_000_000_000, (8, 16)), (14_000_000_000, (32, 32))])
def test_what_stays_packed_is_streamed_in_less_than_it_takes_whole(
    memory: int, blocks: tuple[int, int], tmp_path: Path
) -> None:
    single = job(tmp_path, "nf4", "8 B")
    whole, read = judged_both_ways(single, memory)
    check_memory(read)
    rung = single.target.rungs[0]
    made = weights_bytes(single.original, rung)
    how, cost = streaming(read, rung, made), gating(read, rung, made)
    assert how.memory_bytes == cost.memory_bytes <= memory and 0 < how.hold_bytes <= made
    assert blocks[0] <= how.stock_blocks <= blocks[1]
    assert memory > 10**10 or cost.memory_bytes < gating(whole, rung, made).memory_bytes


@pytest.mark.parametrize("memory", [None, 6_000_000_000, 8_000_000_000, 24_000_000_000, 64_000_000_000])
def test_an_original_is_held_as_far_as_memory_goes(
    memory: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.planning.original_memory.memory_bytes", lambda: 24_000_000_000)
    single = job(tmp_path, "rtn", "8 B")
    single = replace(single, manifest=single.manifest.model_copy(update={"memory_bytes": memory}))
    weights, cost = held(single), scoring_original(single)
    assert cost.memory_bytes == weights.memory_bytes <= (memory or 18_000_000_000)
    assert (weights.hold_bytes is None) == (memory == 64_000_000_000)
    if memory == 6_000_000_000:
        tighter = replace(single, manifest=single.manifest.model_copy(update={"memory_bytes": memory - 10**9}))
        assert scoring_original(tighter).seconds >= cost.seconds


def test_targets_of_one_pass_are_predicted_together(tmp_path: Path) -> None:
    """Six blocks of the 1.1 B shape, three of the targets calibrated, against the same one after the other."""
    single = job(tmp_path, "calibrated", "1.1 B")
    single = replace(single, original=replace(single.original, tensors=tensors(2048, 256, 5632, 32000, 6)))
    one, nearest = single.target.rungs[0], job(tmp_path / "rtn", "rtn", "1.1 B").target.rungs[0]
    together = quantizing([(single, rung) for rung in (one, one, one, nearest, nearest, nearest)])
    assert close(together, 1.70e9, 108), together
    alone = [quantizing([(single, rung)]) for rung in (one, nearest)]
    assert together.seconds < 3 * sum(cost.seconds for cost in alone) * 0.7
    assert together.memory_bytes > max(cost.memory_bytes for cost in alone)


def test_a_search_is_predicted_until_its_outcome_is_known(tmp_path: Path) -> None:
    manifest, store = room(tmp_path), Store(tmp_path / "home")
    text = manifest.read_text()
    manifest.write_text(text.replace("int4: w4-rtn-g64", "int4: {preset: w4-rtn-g64, auto: {max_kld: 0.01}}"))
    jobs = {planned.job.target.name: planned for planned in plan(read([manifest]), store).jobs}
    plain = replace(jobs["int4"], left=tuple(step for step in jobs["int4"].left if step.kind.name != "sensitivity"))
    assert Predictions().of(jobs["int4"]).seconds > Predictions().of(plain).seconds + 3


def planned(manifest: Path, store: Store) -> Plan:
    return plan(read([manifest]), store)


def test_what_jobs_share_is_priced_once(tmp_path: Path) -> None:
    manifest, store = room(tmp_path), Store(tmp_path / "home")
    todo = planned(manifest, store)
    total, alone = Predictions().of_all(todo), [Predictions().of(each) for each in todo.jobs]
    shared = scoring_original(todo.jobs[0].job).seconds
    assert max(cost.seconds for cost in alone) < total.seconds < sum(cost.seconds for cost in alone) - 4 * shared
    assert total.memory_bytes >= max(cost.memory_bytes for cost in alone)
    again = manifest.with_name("again.yaml")
    again.write_text(manifest.read_text().replace("namespace: demo", "namespace: again"))
    both = Predictions().of_all(plan(read([manifest, again]), store))
    assert both.seconds - total.seconds < 10, "but for five releases, all is shared"


def test_only_the_steps_that_are_left_are_priced(tmp_path: Path) -> None:
    manifest, store = room(tmp_path), Store(tmp_path / "home")
    (before,) = (each for each in planned(manifest, store).jobs if each.job.target.name == "int8")
    made: Any = before.job.quantize(before.rung)
    note(store, made, artifact(), {"config.json": "{}"})
    (after,) = (each for each in planned(manifest, store).jobs if each.job.target.name == "int8")
    assert "quantize" not in after.steps
    spared = quantizing([(before.job, before.rung)])
    assert Predictions().of(before).seconds - Predictions().of(after).seconds == pytest.approx(spared.seconds)
    assert Predictions().of(before).disk_bytes - Predictions().of(after).disk_bytes == spared.disk_bytes


def test_plan_shows_the_total(tmp_path: Path) -> None:
    manifest = room(tmp_path)
    shown = quantmill("plan", manifest, home=tmp_path / "home")
    assert "In all about" in shown.stdout and "of memory at the most" in shown.stdout
    told = quantmill("plan", manifest, "--json", home=tmp_path / "home").json
    rows = [row["predicted"] for row in told["jobs"]]
    assert max(row["seconds"] for row in rows) < told["predicted"]["seconds"] < sum(row["seconds"] for row in rows)


def test_documents_that_cost_less_than_a_process_are_one_look(tmp_path: Path) -> None:
    large = job(tmp_path / "large", "rtn", "1.1 B")
    rung = large.target.rungs[0]
    assert looks(large, rung, 128) == (8, 16, 32, 64, 128)
    small = replace(large, original=replace(large.original, tensors=tensors(64, 64, 128, 512, 2)))
    assert looks(small, rung, 128) == (64, 128)
