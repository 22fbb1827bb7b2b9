"""What was found of a model is in its record, as it was found, and told where it is found otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import tiny
from quantizers.discovery.family import find_family
from quantizers.entrypoint import run
from quantizers.families.family import Family, RowList
from quantizers.families.found import Found, differences, found
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.skeleton import build
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Request, Result
from tests.quantizers.models import DEMO

COMPENSATED = {"dtype": "int8", "group_size": 8, "rounding": "compensated"}


def changed(family: Family, **fields: Any) -> Family:
    """With another first group."""
    stack = family.stacks[0]
    groups = (replace(stack.groups[0], **fields), *stack.groups[1:])
    return replace(family, stacks=(replace(stack, groups=groups),))


@pytest.mark.parametrize(("kind", "model_type"), [("causal", "granite"), ("masked", "albert")])
def test_the_record_holds_what_was_found(kind: str, model_type: str, tmp_path: Path) -> None:
    model = tiny.save(model_type, tmp_path / "model", kind)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (model / file).write_bytes((DEMO / "model" / file).read_bytes())
    recipes = {"t": Recipe.model_validate(COMPENSATED), "plain": Recipe(dtype="int8", group_size=8)}
    if model_type == "albert":
        recipes = {"t": Recipe(format="bitsandbytes", dtype="nf4", group_size=32, rounding="compensated")}
    text = Calibration(documents=DEMO / "calibration.jsonl", samples=4, tokens=32)
    task = "text-generation" if kind == "causal" else "fill-mask"
    run(Request(model=model, task=task, targets=recipes, calibration=text), tmp_path / "out")
    made = Result.model_validate_json((tmp_path / "out" / "result.json").read_bytes()).targets
    checkpoint = open_checkpoint(model)
    family = find_family(checkpoint, build(checkpoint, task))
    assert made["t"].found == found(family)
    assert made["t"].found and not list(differences(made["t"].found, Found.model_validate(found(family))))
    assert "plain" not in made or made["plain"].found is None
    linears = {name for groups in made["t"].found.groups for group in groups for name in group.linears}
    assert len(linears) == (7 if kind == "causal" else 6)


def test_what_is_found_otherwise_is_told(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(tiny.save("granite", tmp_path / "model"))
    family = find_family(checkpoint, build(checkpoint))
    before = found(family)
    assert before
    told = {
        "absorber": found(changed(family, absorber=None, kind="none")),
        "rows": found(changed(family, rows=RowList(tuple(reversed(range(64)))))),
        "linears": found(changed(family, linears=("self_attn.q_proj",))),
        "head": found(replace(family, head="score")),
    }
    clauses = {what: list(differences(before, now)) for what, now in told.items() if now}
    assert clauses["absorber"] == [
        "model.layers: self_attn.q_proj, self_attn.k_proj, self_attn.v_proj: absorbed by input_layernorm → "
        "absorbed by nothing"
    ]
    assert len(clauses["rows"]) == 1 and len(clauses["linears"]) == 2
    assert clauses["head"] == ["head lm_head → score"]
    assert found(replace(family, discovered=False)) is None
