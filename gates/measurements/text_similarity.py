"""What both models continue prompts with, embedded by a sentence encoder: the similarity of who-what-benchmark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from catalog import sentence_transformers as layout
from catalog.progress import report
from gates.clients.client import Loaded, load_original
from gates.errors import GateError
from gates.evaluation import probes, readers
from gates.evaluation.findings import Findings
from gates.evidence import Document
from gates.kinds.text_similarity import NAME, Continuations, divergence
from gates.tasks.contract import Asked, Data
from gates.tasks.encoders import output, tokenized
from gates.tasks.feature_extraction import steps_of
from gates.tasks.pooling import embed

_TOKENS = 512
"""Of a text that is embedded, where the encoder says no other number."""


def original(loaded: Loaded, data: Sequence[Data], asked: Asked, settings: dict[str, Any]) -> None:
    """Store prompts and what the original continues them with. Raises GateError where no text is long enough."""
    wanted = Continuations.model_validate(settings)
    texts = (asked.tokenizer(each["text"], truncation=True, max_length=probes.PROMPT_TOKENS) for each in data)
    prompts = [each["input_ids"] for each in texts if len(each["input_ids"]) == probes.PROMPT_TOKENS][: wanted.prompts]
    if not prompts:
        raise GateError(
            f"The gate {NAME} continues texts after {probes.PROMPT_TOKENS} tokens, and none is as long: give others."
        )
    report("original: continuing prompts", 0, 1)
    said = probes.continuations(loaded, torch.tensor(prompts), sample=False)
    (asked.baseline / f"{NAME}.json").write_text(json.dumps({"prompts": prompts, "said": said}) + "\n")
    report("original: continuing prompts", 1, 1)


def artifact(loaded: Loaded, asked: Asked, settings: dict[str, Any], findings: Findings) -> tuple[Document, ...]:
    """Continue the same prompts, and embed what both say."""
    stored = json.loads((asked.baseline / f"{NAME}.json").read_text())
    said = probes.continuations(loaded, torch.tensor(stored["prompts"]), sample=False)
    pairs = [
        [asked.tokenizer.decode(each, skip_special_tokens=True) for each in both]
        for both in zip(stored["said"], said, strict=True)
    ]
    vectors = embedded(Path(settings["model"]), [text for pair in pairs for text in pair])
    cosines = (vectors[::2] * vectors[1::2]).sum(-1).tolist()
    return tuple(
        Document(index=index, tokens=1, sums={"similarity": cosine, **_diverged(asked.tokenizer, pair)})
        for index, (cosine, pair) in enumerate(zip(cosines, pairs, strict=True))
    )


def _diverged(tokenizer: Any, pair: Sequence[str]) -> dict[str, float]:
    """What the token ids of both texts say, as the model's tokenizer encodes them."""
    before, after = (tokenizer(text)["input_ids"] for text in pair)
    fdt, sdt = divergence(before, after)
    numbers = {"same": pair[0] == pair[1], "fdt": fdt, "sdt": sdt, "tokens_original": len(before), "tokens": len(after)}
    return {name: float(number) for name, number in numbers.items()}


def embedded(encoder: Path, texts: Sequence[str]) -> Tensor:
    """Return the vectors of texts, float32 (texts, dimensions), of length 1, as sentence-transformers computes them."""
    loaded, tokenizer = (
        load_original(encoder, "feature-extraction"),
        readers.load(encoder, "feature-extraction").tokenizer,
    )
    if loaded.faults:
        raise GateError(
            f"{encoder}: the encoder of the gate {NAME} does not load cleanly: {loaded.faults[0]}. Name another."
        )
    most = int(layout.settings(encoder, "sentence_bert_config.json").get("max_seq_length") or _TOKENS)
    pooling, before, vectors = steps_of(loaded), layout.prompt(encoder), []
    for number, text in enumerate(texts, 1):
        row = tokenized(tokenizer, before + text, None, min(most, tokenizer.model_max_length))
        vectors.append(embed(output(loaded, row, "last_hidden_state"), row["attention_mask"], pooling))
        report("embedding continuations", number, len(texts))
    return functional.normalize(torch.stack(vectors), dim=-1)
