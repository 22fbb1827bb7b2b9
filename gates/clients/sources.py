"""A model's weights by its own names, each read from its files whenever it is asked for, as `from_pretrained` would have it."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key
from transformers.utils.loading_report import LoadStateDictInfo

from gates.clients import transformers
from gates.clients.abreast import running
from gates.clients.stored import StoredTensors

Stored = Mapping[str, Tensor]
"""What files hold, by their own names."""


@dataclass(frozen=True)
class Source:
    """What one tensor of the model, or several, are read from."""

    name: str
    """The first of the model's."""
    keys: tuple[tuple[str | None, str], ...]
    """Stored tensors, each with the pattern of transformers' table that takes it; None: it is the tensor itself."""
    converter: WeightConverter | None = None
    """How transformers makes the model's tensors of them, such as experts that it stacks."""

    def read(self, stored: Stored, model: Any) -> dict[str, Tensor]:
        """Return the model's tensors by name."""
        if self.converter is None:
            ((_, key),) = self.keys
            return {self.name: stored[key]}
        converter = copy.deepcopy(self.converter)
        for pattern, key in self.keys:
            converter.add_tensor(self.name, key, pattern, partial(stored.__getitem__, key))  # type: ignore[arg-type]
        made = converter.convert(self.name, model=model, config=model.config)
        return {name: each[0] if isinstance(each, list) else each for name, each in made.items()}


class Weights(Mapping[str, Tensor]):
    """The model's tensors by its own names, in its own dtypes; the first that fit are held."""

    def __init__(self, model: Any, stored: Stored, sources: Mapping[str, Source], hold_bytes: int) -> None:
        self._model, self._stored, self._sources, self._left = model, stored, sources, hold_bytes
        self._held: dict[str, Tensor] = {}
        self._shared: dict[str, Tensor] = {}
        self._dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
        self.shared = False
        """Whether runs go abreast, which all need what one has read; until `forget`."""

    def __getitem__(self, name: str) -> Tensor:
        name = self._source_of(name)
        if name in self._held:
            return self._held[name]
        if name in self._shared:
            return self._shared[name]
        tensor = self.anew(name)
        # What is held must not keep a file mapped, and what is not may be its pages.
        tensor = self.taken(name, tensor, self.bytes_of(tensor) <= self._left)
        if (size := self.bytes_of(tensor)) <= self._left:
            self._left -= size
            self._held[name] = tensor
        elif self.shared and running():
            self._shared[name] = tensor
        return tensor

    def anew(self, name: str) -> Tensor:
        """Return a tensor as its files hold it."""
        name = self._source_of(name)
        return self._sources[name].read(self._stored, self._model)[name]

    def bytes_of(self, tensor: Tensor) -> int:
        """What a tensor takes."""
        return tensor.nbytes

    def taken(self, name: str, tensor: Tensor, copied: bool) -> Tensor:
        """Return what was read in the model's dtype; copied: in memory of its own."""
        dtype = self._dtypes[name] if tensor.is_floating_point() else tensor.dtype
        return tensor.to(dtype, copy=copied)

    def forget(self) -> None:
        """Let go of what runs shared."""
        self._shared.clear()

    def _source_of(self, name: str) -> str:
        twin = self._model.all_tied_weights_keys.get(name)
        return twin if twin in self._sources else name

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def sources(model: Any, stored: Stored) -> dict[str, Source]:
    """Return what each tensor of the model is read from, as `from_pretrained` would have it."""
    transforms = get_model_conversion_mapping(model, hf_quantizer=getattr(model, "hf_quantizer", None))
    renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    wanted, prefix = model.state_dict(), model.base_model_prefix
    keys: dict[str, list[tuple[str | None, str]]] = {}
    for key in sorted(stored, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, prefix, wanted)
        if name not in wanted and key in wanted:
            name, pattern = rename_source_key(key, [], [], prefix, wanted)
        if name in wanted:
            keys.setdefault(name, []).append((pattern, key))
    found: dict[str, Source] = {}
    for name, parts in keys.items():
        converter = by_pattern[parts[0][0]] if parts[0][0] else None
        # One that puts a tensor together of several, and finds it whole, leaves it as it is.
        if converter and len(parts) == 1 < len(converter.source_patterns):
            converter = None
        source = Source(name, tuple(parts), converter)
        targets = converter.target_patterns if converter else ("",)
        found |= {name.replace(targets[0], target, 1): source for target in targets}
    tied = {name: found[twin] for name, twin in model.all_tied_weights_keys.items() if twin in found}
    return found | tied


def faults(model: Any, stored: StoredTensors, sources: Mapping[str, Source], packed: Collection[str] = ()) -> list[str]:
    """Return what transformers would report of these files; it looks at no shape of those tensors that are `packed`."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    plain = {
        name: source.keys[0][1] for name, source in sources.items() if source.converter is None and name not in packed
    }
    info = LoadStateDictInfo(
        missing_keys=shapes.keys() - sources.keys(),
        unexpected_keys=stored.keys() - {key for source in sources.values() for _, key in source.keys},
        mismatched_keys={
            (name, stored.shape(key), shapes[name]) for name, key in plain.items() if stored.shape(key) != shapes[name]
        },
        error_msgs=[],
        conversion_errors={},
    )
    # Those that a model type is known to compute by itself, or to have left over.
    model._adjust_missing_and_unexpected_keys(info)
    return transformers.misfits(model, info.to_dict())
