"""optimum-intel: OpenVINO IR on CPU, GPU and NPU, with the tokenizer graphs that OpenVINO GenAI runs beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from catalog.errors import EnvironmentFault
from gates.clients import transformers
from gates.clients.client import Matrix, stock_class
from gates.clients.graph_weights import weights_of
from gates.clients.instrumented import Instrumented
from gates.clients.stored import StoredTensors
from gates.clients.transformers import renamed
from gates.evaluation.activations import Watch
from gates.evidence import Check

TEXTS = 8
"""Texts that the tokenizer graphs are compared on, the first of the evaluation."""
CHARACTERS = 400
"""Of each text: the graphs cut off what exceeds the model's context, the tokenizer beside it does not."""

AT_ONCE = 1024
"""Tokens of a long row that are run at once: a graph makes a logit of every token it is given."""

HINTS = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE", "EXECUTION_DEVICES")
THREADS = "INFERENCE_NUM_THREADS"
_WEIGHTS = frozenset({"u2", "u3", "u4", "i4", "u8", "i8", "nf4", "f4e2m1", "f8e4m3", "f8e5m2", "f16", "bf16"})


@dataclass
class Model(transformers.Model):
    """A compiled graph behind the interface of transformers."""

    cache: TemporaryDirectory[str] | None = field(default=None, kw_only=True)
    """Where it is kept compiled, if that was asked for; gone with the model."""
    _copies: list[Instrumented] = field(default_factory=list, kw_only=True)
    """Of its graphs, that show activations while they are watched."""

    @contextmanager
    def watched(self, again: bool) -> Iterator[Watch | None]:
        """By copies of the graphs, which run every row once more."""
        if not again:
            yield None
            return
        watch = Watch()
        self._copies = [Instrumented(graph.model, watch) for graph in _parts(self.model)]
        yield watch
        self._copies = []

    @property
    def threads(self) -> int:
        """As OpenVINO says, which does not compute with torch's."""
        return int(_properties(self.model).get(THREADS, super().threads))

    def logits(self, ids: Tensor) -> Tensor:
        """Run one row at once."""
        self._look({"input_ids": ids[None]})
        return super().logits(ids)

    def outputs(self, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run one row at once."""
        self._look(given)
        return super().outputs(given)

    def _look(self, given: Mapping[str, Tensor]) -> None:
        if not self._copies:
            return
        first, *second = self._copies
        if "pixel_values" in given and second:
            first.run({"pixel_values": given["pixel_values"]})
            vectors, mask, _ = self.model.get_multimodal_embeddings(**given)
            (language,) = second
            language.run(
                {"input_ids": given["input_ids"], "attention_mask": mask, "inputs_embeds": torch.as_tensor(vectors)}
            )
            return
        made = first.run({name: each for name, each in given.items() if not name.startswith("decoder_")})
        for decoder in second:
            read = {
                "encoder_hidden_states": made["last_hidden_state"],
                "encoder_attention_mask": given["attention_mask"],
            }
            decoder.run({"input_ids": given["decoder_input_ids"], **read})

    def logits_at(self, ids: Tensor, places: Tensor) -> Tensor:
        """Run one row in parts, each after what the cache holds of those before: in the precision that it has on this device."""
        if not self.model.use_cache:
            return super().logits_at(ids, places)
        past, found = None, []
        for start in range(0, len(ids), AT_ONCE):
            part = ids[start : start + AT_ONCE]
            mask = torch.ones(1, start + len(part), dtype=torch.int64)
            out = self.model(input_ids=part[None], attention_mask=mask, past_key_values=past, use_cache=True)
            past = out.past_key_values
            inside = places[(places >= start) & (places < start + len(part))] - start
            found.append(torch.as_tensor(out.logits[0])[inside])
        return torch.cat(found)

    def stored_names(self, stored: StoredTensors) -> Mapping[str, str]:
        """As transformers renames tensors of a language model within a model that sees."""
        if not hasattr(self.model, "vision_embeddings"):
            return {}
        with torch.device("meta"):
            return renamed(self.model.auto_model_class.from_config(self.model.config), stored)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Decompress the constants of each graph."""
        for graph in _parts(self.model):
            yield from weights_of(graph.model)


def _parts(model: Any) -> tuple[Any, ...]:
    """What a model's graphs with products are in: itself, its encoder and its decoder, or what sees and what tells."""
    if hasattr(model, "vision_embeddings"):
        return (model.vision_embeddings, model.language_model)
    return (model.encoder, model.decoder) if model.config.is_encoder_decoder else (model,)


def load(path: Path, loader: str, device: str, **options: Any) -> Model:
    """Load and compile for a device, `CPU`, `GPU` or `NPU`."""
    from openvino import Core

    present = Core().available_devices
    if device not in {name.split(".")[0] for name in present}:
        raise EnvironmentFault(
            f"device {device}: OpenVINO finds none on this machine ({', '.join(present)} is there). Run where it is, with "
            "its driver, or name another device for this target."
        )
    cache = None
    if "CACHE_DIR" in options.get("ov_config", {}):
        # What is compiled is nobody's but this process's, and a step leaves nothing beside its results.
        cache = TemporaryDirectory(prefix="quantmill-openvino-")
        options = {**options, "ov_config": {**options["ov_config"], "CACHE_DIR": cache.name}}
    with transformers.alarms() as faults:
        model = stock_class(loader).from_pretrained(
            path, device=device, local_files_only=True, trust_remote_code=False, **options
        )
        model.compile()
    told = _properties(model)
    return Model(model, {name: told[name] for name in HINTS if name in told}, faults, cache=cache)


def _properties(model: Any) -> dict[str, str]:
    # Decoders hold a request of the compiled model, encoders the compiled model itself.
    request = _parts(model)[-1].request
    return properties_of(getattr(request, "get_compiled_model", lambda: request)())


def properties_of(compiled: Any) -> dict[str, str]:
    """Return what OpenVINO computes with, by its own names, as far as the device has such a thing."""
    supported = {str(name) for name in compiled.get_property("SUPPORTED_PROPERTIES")}
    return {name: str(compiled.get_property(name)) for name in (*HINTS, THREADS) if name in supported}


def damage(artifact: Path) -> str | None:
    """Nothing is known of a .bin by itself: OpenVINO refuses one that is shorter than its .xml says."""
    return None


def matrices(artifact: Path) -> Iterator[Matrix]:
    """Constants of two dimensions or more that are codes or numbers of 16 bits at most, embeddings among them."""
    for graph in sorted(artifact.glob("openvino*_model.xml")):
        yield from _matrices(graph)


def _matrices(graph: Path) -> Iterator[Matrix]:
    for layer in ElementTree.parse(graph).iterfind("./layers/layer[@type='Const']/data"):
        shape = [int(size) for size in (layer.get("shape") or "").split(",") if size]
        if layer.get("element_type") not in _WEIGHTS or len(shape) < 2:
            continue
        rows, size = prod(shape[:-1]), int(layer.get("size", "0"))
        if rows > 1 and size % rows == 0:
            yield Matrix(graph.with_suffix(".bin"), int(layer.get("offset", "0")), rows, size // rows)


def tokenizers(artifact: Path, original: Any, texts: list[str]) -> Check:
    """Both graphs agree with the original's tokenizer on the first `TEXTS` texts, there and back."""
    import openvino
    import openvino_tokenizers  # noqa: F401  registers the operations that the graphs are made of

    core = openvino.Core()
    split, join = (
        core.compile_model(artifact / f"openvino_{part}.xml", "CPU") for part in ("tokenizer", "detokenizer")
    )
    for text in (text[:CHARACTERS] for text in texts[:TEXTS]):
        expected = original(text)["input_ids"]
        if split([text])["input_ids"][0].tolist() != expected:
            return _check(
                False, f"openvino_tokenizer.xml splits {text[:40]!r} differently from the original's tokenizer"
            )
        back = str(join([[expected]])["string_output"][0])
        if back.strip() != original.decode(expected, skip_special_tokens=True).strip():
            return _check(False, f"openvino_detokenizer.xml does not give {text[:40]!r} back as the original's does")
    return _check(True, f"both agree with the original's tokenizer on {min(TEXTS, len(texts))} texts")


def _check(passed: bool, detail: str) -> Check:
    return Check(name="ir-tokenizer", passed=passed, detail=detail)


TOKENIZERS = {"ir-tokenizer": tokenizers}
