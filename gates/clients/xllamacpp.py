"""llama.cpp, through xllamacpp: its server loads a file and answers, as its user has it; the rest is asked of the library.

The Python side of xllamacpp returns no logits of a prompt, and runs tokens together that are parts of one letter. Its shared
library has llama.cpp's C functions (`llama.h`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gates.clients.client import Loaded, Matrix, stock_class
from gates.clients.llama_h import Context, Library, Vocabulary
from gates.evidence import Check

FILE = "model.gguf"
STEP = 512
"""Contexts are made for a multiple of so many tokens."""
AT_ONCE = 1 << 22
"""Weights that are dequantized at once: of a head of 131 million, 8.9 bytes each are taken where all at once took 11.1."""


@dataclass
class Model(Loaded):
    """A GGUF; `model` is the class of the server that has loaded it once."""

    library: Library = field(default_factory=Library)
    _held: tuple[Context, int] | None = None
    """And the tokens that it was made for."""

    @property
    def context(self) -> int | None:
        """What the file says."""
        return int(_keys(self.path)["context_length"])

    @property
    def ends(self) -> frozenset[int]:
        """What llama.cpp takes for the end of a generation."""
        return self._context(STEP).ends

    @property
    def threads(self) -> int:
        """As llama.cpp says, which does not compute with torch's."""
        return self._context(STEP).threads

    def _context(self, tokens: int) -> Context:
        """A context for so many tokens: a user's is as long as the model's, and takes memory for all of it."""
        room = -(-tokens // STEP) * STEP
        if self._held is None or self._held[1] != room:
            self._held = None
            self._held = Context(self.library, self.path / FILE, room), room
        return self._held[0]

    def logits(self, ids: Tensor) -> Tensor:
        """Run one row at once."""
        return torch.from_numpy(self._context(len(ids)).logits(ids.tolist()))

    def logits_at(self, ids: Tensor, places: Tensor) -> Tensor:
        """Run one row at once."""
        return torch.from_numpy(self._context(len(ids)).logits_at(ids.tolist(), places.tolist()))

    def generate(
        self, prompts: Tensor, new_tokens: int, *, seed: int | None = None, through_ends: bool = False
    ) -> tuple[tuple[int, ...], ...]:
        """Run one prompt after the other, with llama.cpp's own samplers."""
        context = self._context(prompts.shape[1] + new_tokens)
        seeds = (None if seed is None else seed + number for number in range(len(prompts)))
        return tuple(
            tuple(context.continued(prompt, new_tokens, own, through_ends))
            for prompt, own in zip(prompts.tolist(), seeds, strict=True)
        )

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Dequantize each matrix with the `gguf` package, and undo the order that llama.cpp wants queries and keys in."""
        from gguf import GGUFReader
        from gguf.quants import dequantize

        reader, keys = GGUFReader(self.path / FILE), _keys(self.path)
        names = _original_names(keys)
        heads = {"attn_q": keys["attention.head_count"], "attn_k": keys["attention.head_count_kv"]}
        for tensor in reader.tensors:
            if len(tensor.shape) != 2 or tensor.name not in names:
                continue
            dense = torch.empty(tuple(reversed(tensor.shape.tolist())))
            step = max(1, AT_ONCE // dense.shape[1])
            for part, rows in zip(torch.split(dense, step), range(0, len(dense), step), strict=True):
                part.copy_(torch.from_numpy(dequantize(tensor.data[rows : rows + step], tensor.tensor_type)))
            count = heads.get(tensor.name.split(".")[-2]) if keys["architecture"] == "llama" else None
            if count:
                dense = dense.view(count, -1, 2, dense.shape[1]).transpose(1, 2).reshape(dense.shape)
            yield from ((name, dense) for name in names[tensor.name])

    def harness(self, tokenizer: Any) -> Any:
        """A model of the harness that asks this one."""
        from gates.clients.harness import Asked

        return Asked(self, tokenizer)


def load(path: Path, loader: str, device: str, **options: Any) -> Model:
    """Load on the CPU: start the server, as its user does."""
    model = Model(stock_class(loader), path=path)
    try:
        _answer(model.model, path)
    except RuntimeError:
        model.library.open(path / FILE)  # which says why
        raise
    model.runtime = {"file_type": str(_keys(path)["file_type"]), "system": " ".join(model.library.system().split())}
    return model


def _answer(stock: Any, path: Path) -> None:
    """Have the server load the file and say a word."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(path / FILE)
    settings.n_ctx = STEP
    settings.n_parallel = 1
    settings.verbosity = 1
    answer = stock(settings).handle_completions({"prompt": "The", "max_tokens": 1})
    if "choices" not in answer:
        raise RuntimeError(f"its server does not continue a prompt: {json.dumps(answer)[:300]}")


def damage(artifact: Path) -> str | None:
    """A file that is no GGUF, or that ends before its tensors do."""
    from gguf import GGUFReader

    path = artifact / FILE
    try:
        tensors = GGUFReader(path).tensors
    except (ValueError, KeyError, IndexError) as error:
        return f"{path.name} is not a whole GGUF ({' '.join(str(error).split())[:200]})"
    return None if tensors else f"{path.name} holds no tensor"


def matrices(artifact: Path) -> Iterator[Matrix]:
    """Matrices of blocks; embeddings and heads are left as they are."""
    from gguf import GGUFReader

    for tensor in GGUFReader(artifact / FILE).tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2:
            rows = int(tensor.shape[1])
            yield Matrix(artifact / FILE, int(tensor.data_offset), rows, int(tensor.n_bytes) // rows)


def tokenizers(artifact: Path, original: Any, texts: list[str]) -> Check:
    """The tokenizer inside the file splits all texts as the original's does, and the chat template is the original's."""
    vocabulary = Vocabulary(Library(), artifact / FILE)
    for text in texts:
        if vocabulary.split(text) != original(text)["input_ids"]:
            return _check(False, f"llama.cpp splits {text[:40]!r} differently from the original's tokenizer")
    template = original.chat_template
    if (vocabulary.template() or None) != (
        template if isinstance(template, str) or template is None else template["default"]
    ):
        return _check(False, "the chat template inside the file is not the original's")
    return _check(
        True, f"llama.cpp splits {len(texts)} texts as the original's tokenizer does; the chat template is the same"
    )


def _check(passed: bool, detail: str) -> Check:
    return Check(name="gguf-tokenizer", passed=passed, detail=detail)


TOKENIZERS = {"gguf-tokenizer": tokenizers}


def _keys(artifact: Path) -> dict[str, Any]:
    """What the file says of itself, by names without the part before the first point; lists are left out."""
    from gguf import GGUFReader, GGUFValueType

    fields = GGUFReader(artifact / FILE).fields
    plain = {name: field.contents() for name, field in fields.items() if GGUFValueType.ARRAY not in field.types}
    return {name.partition(".")[2]: value for name, value in plain.items() if not name.startswith("tokenizer.")}


def _original_names(keys: dict[str, Any]) -> dict[str, list[str]]:
    """Matrix of the file → what checkpoints of transformers may call it."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = next(each for each, name in MODEL_ARCH_NAMES.items() if name == keys["architecture"])
    names: dict[str, list[str]] = {}
    for original, (_, name) in get_tensor_name_map(architecture, keys["block_count"]).mapping.items():
        names.setdefault(f"{name}.weight", []).append(f"{original}.weight")
    return names
