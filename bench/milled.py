"""One model type by every kind of recipe: made tiny, milled, and read back by the stock client of each format."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from bench import tiny
from catalog.errors import InputError
from catalog.formats import FORMATS
from catalog.runtime import RuntimeOptions
from gates.clients import client
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Calibration, Made, Request

DEMO = Path(__file__).parents[1] / "manifests" / "demo"
TEXT = Calibration(documents=DEMO / "calibration.jsonl", samples=8, tokens=48)
NEAR = {"int8": 1e-2, "nf4": 0.2}
"""Relative error of the output, of a middling token's: where experts are chosen, any change sends some elsewhere."""

ENDS = 0.3
"""What norms at the ends of branches are multiplied by, so that int8 in their branches moves the output by less than 1 %."""

INT8 = Recipe(dtype="int8", group_size=8, symmetric=False)
NF4 = Recipe(dtype="nf4", format="bitsandbytes", group_size=32)
HOW: dict[str, dict[str, Any]] = {
    "rtn": {},
    "compensated": {"rounding": "compensated"},
    "awq": {"rounding": "compensated", "transform": "awq"},
}
"""Recipes, beside the dtype, in the first format that takes the type."""
IR = INT8.model_copy(update={"format": "openvino"})
FORMATS_TRIED = (INT8, NF4, IR)
OTHERS: dict[str, tuple[tuple[str, ...], Recipe]] = {
    "openvino": (tuple(tiny.KINDS), IR),
    "gguf": (("causal",), Recipe(dtype="int8", format="gguf", group_size=32)),
}
"""Kinds that a format of its own is for, and the recipe."""
RECIPES = (*HOW, *OTHERS)
TASKS = {
    "causal": "text-generation",
    "seq2seq": "text2text-generation",
    "masked": "fill-mask",
    "encoder": "feature-extraction",
}
"""What the models of a kind are asked to do."""
SKIP: dict[str, dict[str, Any]] = {
    "fuyu": {"skip": ("lm_head", "model.vision_embed_tokens")},
    "gemma3n_text": {"skip": ("lm_head", "*.altup.*")},
}
"""What a type's recipes leave alone: linears whose inputs are no multiple of a group in the real models, either."""
Row = dict[str, Any]


def mill(kind: str, model_type: str, scratch: Path, recipes: tuple[str, ...]) -> Iterator[Row]:
    """Yield what is known of a type so far: why it could not be made, or its outcomes by recipe."""
    try:
        model = tiny.save(model_type, scratch / "model", kind, ends=ENDS)
        wanted = _output(kind, model)
    except Exception as error:  # whatever transformers makes of a configuration so small
        yield {"unmade": what_failed(error)}
        return
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DEMO / "model" / file, model / file)
    skip = SKIP.get(model_type, {})
    together = [name for name in recipes if name in HOW]
    outcomes = _together(kind, model, wanted, scratch / "together", {name: HOW[name] | skip for name in together})
    yield {"outcomes": outcomes}
    for name in recipes:
        if name in HOW and name not in outcomes:
            outcomes[name] = _first_taken(kind, model, wanted, scratch / name, HOW[name] | skip)
        elif name in OTHERS and kind in OTHERS[name][0]:
            recipe = OTHERS[name][1].model_copy(update=skip)
            outcomes[name] = _outcome(kind, model, wanted, scratch / name, recipe)
        yield {"outcomes": outcomes}


def _together(kind: str, model: Path, wanted: Tensor, out: Path, changes: dict[str, dict[str, Any]]) -> dict[str, Row]:
    """The outcomes of recipes in one pass over the model; none if it ends with an error, whoever's that is."""
    recipes = {name: Recipe.model_validate(INT8.model_dump() | each) for name, each in changes.items()}
    try:
        made = run(Request(model=model, task=TASKS[kind], targets=recipes, calibration=TEXT), out).targets
        return {name: _judged(kind, out / name, wanted, recipe, made[name]) for name, recipe in recipes.items()}
    except Exception:  # each tells its own when it is run alone
        return {}


def _first_taken(kind: str, model: Path, wanted: Tensor, out: Path, changes: dict[str, Any]) -> Row:
    """The outcome in the first format that does not refuse the type; where all do, each one's reason."""
    refused = []
    for base in FORMATS_TRIED:
        recipe = Recipe.model_validate(base.model_dump() | changes)
        outcome = _outcome(kind, model, wanted, out / base.format, recipe)
        if outcome["outcome"] != "refused":
            return outcome
        refused.append(outcome["why"])
    return {"outcome": "refused", "why": " ".join(dict.fromkeys(refused))}


def _outcome(kind: str, model: Path, wanted: Tensor, out: Path, recipe: Recipe) -> Row:
    try:
        request = Request(model=model, task=TASKS[kind], targets={"t": recipe}, calibration=TEXT)
        return _judged(kind, out / "t", wanted, recipe, run(request, out).targets["t"])
    except InputError as refusal:
        why = str(refusal).replace(f"{model}: ", "").removeprefix("target t: ")
        return {"format": recipe.format, "outcome": "refused", "why": why}
    except Exception as error:
        return {"format": recipe.format, "outcome": "broken", "why": what_failed(error)}


def _judged(kind: str, artifact: Path, wanted: Tensor, recipe: Recipe, made: Made) -> Row:
    error = _error(_output(kind, artifact, recipe.format), wanted)
    row: Row = {"format": recipe.format, "outcome": "works", "error": float(f"{error:.2g}"), **_told(made)}
    return (
        row if error <= NEAR[recipe.dtype] else row | {"outcome": "broken", "why": f"its output is off by {error:.1e}"}
    )


def _told(made: Made) -> Row:
    return {"quantized": made.quantized, "notes": list(made.notes)}


@torch.no_grad()
def _output(kind: str, path: Path, format_: str = "transformers") -> Tensor:
    """What a stock client computes: logits, or the last hidden states of an encoder."""
    ids = torch.randint(4, tiny.VOCABULARY - 4, (2, 24), generator=torch.Generator().manual_seed(0))
    if format_ == "gguf":
        loaded = client.load(path, format_, RuntimeOptions(), TASKS[kind])
        return torch.stack([loaded.logits(row) for row in ids])
    inputs = {"input_ids": ids, **({"decoder_input_ids": ids.flip(1)} if kind == "seq2seq" else {})}
    if format_ == "openvino":
        stock = client.stock_class(FORMATS["openvino"].loader(TASKS[kind]))
        # In bfloat16, which it chooses where the CPU has that, what it computes is no closer than int8 weights are.
        model = stock.from_pretrained(path, ov_config={"INFERENCE_PRECISION_HINT": "f32"})
        inputs["attention_mask"] = torch.ones_like(ids)
    else:
        model = getattr(transformers, tiny.KINDS[kind]).from_pretrained(path, dtype=torch.float32).eval()
    made = model(**inputs)
    output: Tensor = made.last_hidden_state if kind == "encoder" else made.logits
    if not torch.isfinite(output).all():
        raise ValueError("the output is not finite")
    return output


def _error(ours: Tensor, wanted: Tensor) -> float:
    return float(((ours - wanted).norm(dim=-1) / wanted.norm(dim=-1)).median())


def what_failed(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text} ({Path(frame.filename).name}, {frame.name})"
