"""The model without its weights: which tensors it wants, and which of its modules are linears."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from accelerate import init_empty_weights
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from catalog.task import Task
from catalog.tasks import TASKS
from quantizers.errors import QuantizeError
from quantizers.families.experts import unstack
from quantizers.families.family import Family
from quantizers.families.heads import half_of, task_of
from quantizers.model import replaced
from quantizers.model.checkpoint import Checkpoint
from quantizers.model.conversion import Piece, pieces, split


@dataclass(frozen=True)
class Linear:
    """One matrix that may be quantized."""

    name: str
    """Full module name; its weight is `{name}.weight`."""
    out_features: int
    in_features: int
    transposed: bool
    """Whether the checkpoint stores it `[in, out]` (transformers' Conv1D)."""


@dataclass(frozen=True)
class Skeleton:
    """The model on the meta device, its experts as linears, held against the checkpoint."""

    model: PreTrainedModel
    dtype: torch.dtype
    """What the stock loader computes in: the configuration's dtype, else that of the weights."""
    linears: dict[str, Linear]
    source: dict[str, str]
    """Tensor of the artifact, under the model's name or a piece's → the checkpoint's name for it; in the model's
    order, tied duplicates left out."""
    tied: dict[str, str]
    """Tensor → the one it shares its values with."""
    pieces: dict[str, tuple[Piece, ...]]
    """Model tensor → what the checkpoint holds of it under other names."""
    task: str
    """What the model is asked to do (`catalog.tasks`)."""

    @property
    def vocabulary(self) -> int:
        """Token ids that it reads. What transformers calls the input embeddings may be no table of tokens (Perceiver)."""
        own = getattr(self.model.get_input_embeddings(), "num_embeddings", None)
        return int(own or self.model.config.get_text_config().vocab_size)

    @cached_property
    def by_weight(self) -> dict[str, Linear]:
        """The linears by the names of their weights in `source`."""
        return {self.kept_as(f"{name}.weight"): linear for name, linear in self.linears.items()}

    @cached_property
    def like_linears(self) -> tuple[str, ...]:
        """Modules of a class made from `nn.Linear`: loaders take them for linears, and they are none here."""
        modules = self.model.named_modules()
        return tuple(name for name, module in modules if isinstance(module, nn.Linear) and name not in self.linears)

    @cached_property
    def _of_pieces(self) -> dict[str, str]:
        return {piece.name: name for name, pieces in self.pieces.items() for piece in pieces}

    def model_name(self, tensor: str) -> str:
        """Name in the model of a tensor of `source`, or of what it is a piece of."""
        return self._of_pieces.get(tensor, tensor)

    def kept_as(self, tensor: str) -> str:
        """Name, in an artifact that does not quantize it, of a tensor that is in one piece."""
        return self.pieces[tensor][0].name if tensor in self.pieces else tensor


def build(checkpoint: Checkpoint, task: str = "text-generation") -> Skeleton:
    """Build the architecture that config.json names, on the meta device, and match it with the checkpoint's tensors.

    Raises:
        QuantizeError: transformers does not know the architecture, or tensors are missing, left over, of another
            shape, or tied and different.
    """
    model = _meta(checkpoint, TASKS[task])
    unstack(model, model.config.model_type)
    replaced.replace(model, checkpoint)
    wanted = {name: tuple(t.shape) for name, t in model.state_dict(keep_vars=True).items()}
    tied = dict(model.all_tied_weights_keys)
    linears = {name: linear for name, module in model.named_modules() if (linear := _linear(name, module))}
    split(checkpoint, model, wanted)
    parts = pieces(checkpoint, model, wanted)
    source = _match(checkpoint, model, wanted, tied, parts)
    return Skeleton(model, _dtype(checkpoint, model), linears, source, tied, parts, task)


def blocks_of(skeleton: Skeleton, path: str) -> int:
    """Blocks in the list at a module path."""
    return len(skeleton.model.get_submodule(path))  # type: ignore[arg-type]


def blocks(skeleton: Skeleton, family: Family) -> tuple[str, ...]:
    """Module paths of all blocks, in the order that hidden states pass them."""
    return tuple(family.calls) or tuple(
        f"{path}.{n}" for path in family.blocks for n in range(blocks_of(skeleton, path))
    )


def _meta(checkpoint: Checkpoint, task: Task) -> PreTrainedModel:
    where = checkpoint.directory / "config.json"
    try:
        config = AutoConfig.from_pretrained(checkpoint.directory, local_files_only=True)
    except (ValueError, KeyError, TypeError) as error:
        raise QuantizeError(
            f"{where}: transformers cannot read this configuration ({_first_line(error)}). "
            "Models that bring their own code are not run here; name one whose architecture transformers carries."
        ) from error
    auto = _auto_class(config, task, where)
    # Buffers (rotary tables, masks) are computed, not loaded: they have to be real.
    with init_empty_weights(include_buffers=False):
        # Grouped kernels for experts know no float64, in which folds are checked.
        return auto.from_config(config, experts_implementation="eager").eval()  # type: ignore[no-any-return]


def _auto_class(config: PretrainedConfig, task: Task, where: Path) -> Any:
    """The auto class that builds the architecture that the weights were saved from; a type alone has several."""
    known = [
        auto for auto in (getattr(transformers, name) for name in task.builds) if type(config) in auto._model_mapping
    ]
    if not known:
        raise QuantizeError(
            f"{where}: model_type {config.model_type} is no model for {task.words} that transformers loads "
            f"({', '.join(task.builds)}). Name another model."
        )
    named = tuple(config.architectures or ())
    classes = {auto: _class_names(auto._model_mapping[type(config)]) for auto in known}
    built = [auto for auto in known if classes[auto].intersection(named)]
    if half := half_of(named, set().union(*classes.values())):
        raise QuantizeError(f"{where} {half}. Name another model.")
    if named and not built and not any(name.endswith(task.heads) for name in named):
        raise QuantizeError(
            f"{where}: its architecture, {', '.join(named)}, is none for {task.words}; of model_type {config.model_type} "
            f"these are {', '.join(sorted(set().union(*classes.values())))}. Its head is for {task_of(named[0])}: name "
            "another model, or its own task."
        )
    return (built or known)[0]


def _class_names(classes: type | tuple[type, ...]) -> set[str]:
    return {each.__name__ for each in (classes if isinstance(classes, tuple) else (classes,))}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _match(
    checkpoint: Checkpoint,
    model: PreTrainedModel,
    wanted: dict[str, tuple[int, ...]],
    tied: dict[str, str],
    parts: dict[str, tuple[Piece, ...]],
) -> dict[str, str]:
    prefix = model.base_model_prefix + "."
    source: dict[str, str] = {}
    for name, shape in wanted.items():
        if name in parts:
            source |= {piece.name: piece.key for piece in parts[name]}
            continue
        bare = name.removeprefix(prefix)
        key = name if name in checkpoint.tensors else bare if bare in checkpoint.tensors else None
        if key is None and (name in tied or _is_computed(model, name)):
            continue
        if key is None:
            raise QuantizeError(
                f"{checkpoint.directory}: config.json wants tensor {name} {list(shape)}, which the weights do not hold. "
                "The configuration and the weights are of different models, or a shard is missing: fetch the model again."
            )
        stored = checkpoint.tensors[key]
        if stored.shape != shape:
            raise QuantizeError(
                f"{stored.file}: tensor {key} is {list(stored.shape)}, but config.json says {list(shape)}. "
                "The configuration and the weights are of different models: fetch the model again."
            )
        source[name] = key
    unknown = sorted(checkpoint.tensors.keys() - set(source.values()) - _buffers(checkpoint, model))
    if unknown:
        raise QuantizeError(
            f"{checkpoint.directory}: config.json has no place for tensor {unknown[0]}"
            f"{f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''}. "
            "The configuration and the weights are of different models: fetch the model again."
        )
    for name, twin in tied.items():
        if name in source and twin in source:
            _same(checkpoint, source[name], source[twin])
            del source[name]
        elif name in source:
            raise QuantizeError(
                f"{checkpoint.directory}: {name} shares its values with {twin}, but the weights hold {name} alone. "
                "Save the model with save_pretrained, which stores the shared tensor under its first name."
            )
    return source


def _is_computed(model: PreTrainedModel, name: str) -> bool:
    """Whether transformers fills a tensor in when weights do not hold it (Marian's sinusoidal positions)."""
    return any(re.search(pattern, name) for pattern in model._keys_to_ignore_on_load_missing or ())


def _buffers(checkpoint: Checkpoint, model: PreTrainedModel) -> set[str]:
    """Names of tensors that older versions stored and the model now computes (rotary tables, causal masks)."""
    computed = ("rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
    buffers = {name.removeprefix(model.base_model_prefix + ".") for name, _ in model.named_buffers()}
    names = checkpoint.tensors
    stale = {n for n in names if n.endswith(computed) or n.endswith("position_ids")}
    return stale | {n for n in names if n.removeprefix(model.base_model_prefix + ".") in buffers}


def _same(checkpoint: Checkpoint, name: str, twin: str) -> None:
    for (_, mine), (_, other) in zip(checkpoint.chunks(name), checkpoint.chunks(twin), strict=True):
        if not torch.equal(mine, other):
            raise QuantizeError(
                f"{checkpoint.directory}: config.json ties {name} to {twin}, but the weights hold two different "
                "tensors. Set tie_word_embeddings to false in config.json if both are meant, or fetch the model again."
            )


def _dtype(checkpoint: Checkpoint, model: PreTrainedModel) -> torch.dtype:
    named = checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype")
    dtype = getattr(torch, str(named), None)
    if not isinstance(dtype, torch.dtype):
        floating = (s.dtype for s in checkpoint.tensors.values() if s.dtype.is_floating_point)
        dtype = next(floating, torch.float32)
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise QuantizeError(
            f"{checkpoint.directory / 'config.json'}: dtype {str(dtype).removeprefix('torch.')} is none that "
            "quantized models run in; use float32, float16 or bfloat16."
        )
    return dtype


def linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """Outputs and inputs of a module that is a linear and nothing more; None for any other.

    A class made from `nn.Linear` (Falcon's) is one if it is seen to compute what that computes; a router is not.
    """
    if type(module) is nn.Linear or (isinstance(module, nn.Linear) and _multiplies(cast(Hashable, type(module)))):
        return module.out_features, module.in_features
    if type(module) is Conv1D:
        inputs, outputs = cast(Tensor, module.weight).shape
        return outputs, inputs
    return None


@cache
def _multiplies(kind: Any) -> bool:
    """Whether modules of a class made from `nn.Linear` return x W^T + b in float64, with a bias and without."""
    if kind is NonDynamicallyQuantizableLinear:
        return False  # that in MultiheadAttention is never called: its weights are read
    generator = torch.Generator().manual_seed(0)
    for bias in (False, True):
        # Not by its own __init__, which may want more than sizes.
        module: nn.Linear = kind.__new__(kind)
        nn.Linear.__init__(module, 5, 3, bias=bias, dtype=torch.float64)
        for parameter in module.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        read = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
        try:
            with torch.no_grad():
                answer = module(read)
        except (TypeError, AttributeError, RuntimeError, ValueError, IndexError):
            return False
        wanted = read @ module.weight.T + (0.0 if module.bias is None else module.bias)
        if not (
            isinstance(answer, Tensor) and answer.shape == wanted.shape and torch.allclose(answer, wanted, rtol=1e-12)
        ):
            return False
    return True


def _linear(name: str, module: nn.Module) -> Linear | None:
    shape = linear_shape(module)
    return Linear(name, *shape, transposed=type(module) is Conv1D) if shape else None
