"""The base as the stock loader gives it, made ready by peft."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training
from torch import nn

from adapters.errors import AdapterError
from adapters.request import TrainRequest

NOT_REENTRANT = {"use_reentrant": False}
"""How gradients are checkpointed; torch's older way needs inputs that have gradients."""


def load(request: TrainRequest) -> Any:
    """Load the base and give it updates, which alone have gradients. Their first values follow from the recipe's seed.

    Raises:
        AdapterError: the base is not packed as bitsandbytes packs it, or no linear has a name that is asked for.
    """
    from transformers import AutoModelForCausalLM, set_seed

    recipe, base = request.recipe, request.base
    model = AutoModelForCausalLM.from_pretrained(
        base.directory, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    )
    if not getattr(model, "is_loaded_in_4bit", False):
        raise AdapterError(
            f"{base.name} is not stored in 4 bits as bitsandbytes does it, which is what peft trains on; take a base in format "
            "bitsandbytes."
        )
    compute = getattr(torch, request.compute)
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = compute
    model = prepare_model_for_kbit_training(
        model, use_gradient_checkpointing=True, gradient_checkpointing_kwargs=NOT_REENTRANT
    )
    set_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=0.0,
        target_modules=_modules(model, recipe.target_modules, base.name),
        task_type=TaskType.CAUSAL_LM,
    )
    return get_peft_model(model, config)


def _modules(model: nn.Module, wanted: tuple[str, ...], base: str) -> list[str]:
    """The ends of names that get updates: those that are wanted, or of all linears but the head."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
    if not wanted:
        return sorted({name.rpartition(".")[2] for name in linears})
    for each in wanted:
        if not any(name == each or name.endswith(f".{each}") for name in linears):
            have = ", ".join(sorted({name.rpartition(".")[2] for name in linears}))
            raise AdapterError(f"target_modules: {each} ends the name of no linear of {base}; they end in {have}.")
    return sorted(wanted)
