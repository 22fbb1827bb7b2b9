"""transformers. What it reports while loading (keys missing or left over, a quantization it skipped) is kept: a model with
initialized weights, or without its quantization, is not the artifact."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import takewhile
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

from catalog.foreign_errors import machine_fault
from gates.clients.client import Loaded, Matrix, TokenizerCheck, stock_class
from gates.clients.stored import StoredTensors
from gates.evaluation.activations import Watch, hooked

TOKENIZERS: Mapping[str, TokenizerCheck] = {}
DRAWN = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

# What transformers logs when it goes on without the quantization that config.json asks for, or without weights.
_ALARMS = (
    "skip the quantization",
    "newly initialized",
    "not initialized from the model checkpoint",
    "were not used when",
)
_COMPUTED = ("position_ids", "rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")
"""Ends of tensors that older versions stored and models now compute."""


@dataclass
class Model(Loaded):
    """A model with the interface of transformers, which optimum-intel's have, too."""

    @property
    def place(self) -> torch.device:
        """Where inputs are brought: an original that is read from its files block by block has its parameters nowhere."""
        device: torch.device = self.model.device
        return torch.device("cpu") if device.type == "meta" else device

    @property
    def context(self) -> int | None:
        """`max_position_embeddings`, if its configuration has any."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @property
    def ends(self) -> frozenset[int]:
        """`eos_token_id` of its generation config."""
        ends = self.model.generation_config.eos_token_id
        return frozenset(ends if isinstance(ends, list) else () if ends is None else [ends])

    def logits(self, ids: Tensor) -> Tensor:
        """Run one row at once."""
        with torch.inference_mode():
            row = ids[None].to(self.place)
            out = self.model(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False)
        return torch.as_tensor(out.logits[0]).cpu()

    def logits_at(self, ids: Tensor, places: Tensor) -> Tensor:
        """Run one row at once; most models multiply with their head at these places alone."""
        if "logits_to_keep" not in inspect.signature(type(self.model).forward).parameters:
            return super().logits_at(ids, places)
        given = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
        with torch.inference_mode():
            out = self.model(**given, use_cache=False, logits_to_keep=places)
        return torch.as_tensor(out.logits[0])

    def outputs(self, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run one row at once."""
        with torch.inference_mode():
            made = self.model(**{name: tensor.to(self.place) for name, tensor in given.items()})
        return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in made.items()}

    def generate(
        self, prompts: Tensor, new_tokens: int, *, seed: int | None = None, through_ends: bool = False
    ) -> tuple[tuple[int, ...], ...]:
        """Run all prompts as one batch."""
        options: dict[str, Any] = {"do_sample": False} if seed is None else dict(DRAWN)
        if through_ends:
            options["min_new_tokens"] = new_tokens
        torch.manual_seed(seed or 0)
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=prompts.to(self.place),
                attention_mask=torch.ones_like(prompts, device=self.place),
                max_new_tokens=new_tokens,
                pad_token_id=0,
                **options,
            )
        stops = frozenset() if through_ends else self.ends
        # An encoder reads the prompt, and the decoder begins with a token of its own.
        begun = 1 if self.model.config.is_encoder_decoder else prompts.shape[1]
        rows = out[:, begun:].tolist()
        return tuple(tuple(takewhile(lambda token: token not in stops, row)) for row in rows)

    def watched(self, again: bool) -> AbstractContextManager[Watch | None]:
        """By hooks of torch."""
        return hooked(self.model)

    def written(self, given: Mapping[str, Tensor], new_tokens: int, whole: bool = False) -> tuple[int, ...]:
        """Write about one row at once."""
        options = {"do_sample": False, "max_new_tokens": new_tokens, "return_dict_in_generate": whole}
        with torch.inference_mode():
            out = self.model.generate(**given, **options)
        return tuple((out["sequences"] if whole else out)[0].tolist())

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Unpack one linear at a time."""
        for name, module in self.model.named_modules():
            if isinstance(module, torch.nn.Linear):
                yield f"{name}.weight", _dense(module).cpu()

    def stored_names(self, stored: StoredTensors) -> Mapping[str, str]:
        """As `from_pretrained` renames tensors."""
        return renamed(self.model, stored) if isinstance(self.model, PreTrainedModel) else {}

    def harness(self, tokenizer: Any) -> Any:
        """The harness has a class for it."""
        from lm_eval.models.huggingface import HFLM

        return HFLM(pretrained=self.model, tokenizer=tokenizer, backend="causal", batch_size=1)


def renamed(model: PreTrainedModel, stored: StoredTensors) -> dict[str, str]:
    """Return, of a model's linears that are stored under other names, such as those of a language model within a model that
    sees, weight → that name."""
    renamings = [each for each in get_model_conversion_mapping(model) if isinstance(each, WeightRenaming)]
    linears = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    wanted = {f"{name}.weight": None for name in linears}
    named = {
        rename_source_key(key, renamings, [], model.base_model_prefix, wanted)[0]: key
        for key in stored
        if key not in wanted
    }
    return {name: key for name, key in named.items() if name in wanted}


def load(path: Path, loader: str, device: str, **options: Any) -> Model:
    """Load on a device by torch's name of it."""
    if device != "CPU":
        options["device_map"] = device
    with alarms() as faults:
        model, info = stock_class(loader).from_pretrained(
            path,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are faults, and told by name
            **options,
        )
    # What the loader logs of these is a table of all of them, for a terminal.
    faults[:] = misfits(model, info) or faults
    model.eval()
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.is_floating_point()})
    return Model(model, {"dtype": ", ".join(dtypes)}, faults, method=method_of(model))


def misfits(model: Any, info: dict[str, Any]) -> list[str]:
    """Tensors that the weights lack, have in another shape, or have in vain: how many, and the first in the model's order."""
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    order = {name: number for number, name in enumerate(shapes)}
    told = []
    if missing := sorted(info["missing_keys"], key=lambda name: order.get(name, len(order))):
        told.append(
            f"config.json wants tensor {missing[0]} {shapes.get(missing[0], '')}{_more(missing)}, not in the weights"
        )
    if other := sorted(info["mismatched_keys"], key=lambda each: order.get(each[0], len(order))):
        name, stored, wanted = other[0]
        told.append(f"tensor {name}{_more(other)} is {list(stored)}, and config.json wants {list(wanted)}")
    if unknown := sorted(name for name in info["unexpected_keys"] if not name.endswith(_COMPUTED)):
        told.append(f"config.json has no place for tensor {unknown[0]}{_more(unknown)}")
    return told + [" ".join(str(each).split()) for each in info["error_msgs"]]


def _more(names: list[Any]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def method_of(model: Any) -> str | None:
    """The quantization that a model was loaded with."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is None:
        return None
    return str(getattr(quantizer.quantization_config.quant_method, "value", quantizer.quantization_config.quant_method))


@contextmanager
def alarms() -> Iterator[list[str]]:
    """Collect the log records that `_ALARMS` names while a loader runs."""
    faults: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if any(alarm in text for alarm in _ALARMS):
                faults.append(text.strip().splitlines()[0])

    listener, logger = Listener(logging.WARNING), logging.getLogger("transformers")
    logger.addHandler(listener)
    try:
        yield faults
    finally:
        logger.removeHandler(listener)


def _dense(module: torch.nn.Linear) -> Tensor:
    if hasattr(module, "weight_packed") or hasattr(module, "weight_scale"):
        from compressed_tensors.compressors import decompress_module

        module = copy.deepcopy(module)
        decompress_module(module)
    return unpacked(module.weight)


def unpacked(weight: Tensor) -> Tensor:
    """Return a weight as it is multiplied with, (out, in), of one that bitsandbytes may have packed."""
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight.data
    from bitsandbytes.functional import dequantize_4bit

    return torch.as_tensor(dequantize_4bit(weight.data, state))


def damage(artifact: Path) -> str | None:
    """Shards that are cut short, or that disagree with each other or with their index."""
    shard_of: dict[str, str] = {}
    for path in sorted(artifact.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as tensors:  # type: ignore[no-untyped-call]
                names = list(tensors.keys())
        except SafetensorError as error:
            if fault := machine_fault(error):
                raise fault from error
            return f"{path.name} is not a whole safetensors file ({error})"
        for name in names:
            if name in shard_of:
                return f"tensor {name} is in {shard_of[name]} and in {path.name}"
            shard_of[name] = path.name
    index = artifact / "model.safetensors.index.json"
    if index.is_file():
        listed: dict[str, Any] = json.loads(index.read_text())["weight_map"]
        astray = sorted(name for name in listed.keys() | shard_of.keys() if listed.get(name) != shard_of.get(name))
        if astray:
            return f"{index.name} and the shards disagree on tensor {astray[0]}"
    return None


def matrices(artifact: Path) -> Iterator[Matrix]:
    """Tensors of two dimensions or more whose names number a block: embeddings and heads are left as they are."""
    for path in sorted(artifact.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if not re.search(r"(^|\.)[0-9]+\.", name) or len(tensor["shape"]) < 2:
                continue
            start, end = tensor["data_offsets"]
            if (rows := prod(tensor["shape"][:-1])) > 1:
                yield Matrix(path, 8 + length + start, rows, (end - start) // rows)
