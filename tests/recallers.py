"""A small Llama that recalls: trained in seconds to answer what its own row said of a key, however far away.

Its positions are those of Llama 3 (`rope_type: llama3`), for eight times the 64 tokens that they were once for: what is
near is told apart without the scaling, what is far is not.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.functional import cross_entropy
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
)

from gates.measurements.long_context import KEYS, VALUES
from tests import encoders

CONTEXT, FACT = 512, 8
"""Tokens that it is made for, and those of a line that holds a fact."""
ROPE = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
REPEATED = 260
"""Steps on repeated rows of random tokens, from which models learn to look back; from facts alone they do not within minutes."""
PLAN = ((120, 32, 64, 4), (80, 24, 128, 6), (60, 12, 256, 12), (40, 6, 512, 16))
"""Then, steps on so many rows of so many tokens with so many facts."""
RATE = 5e-3


def texts(count: int, seed: int) -> list[dict[str, str]]:
    """Documents of a dozen sentences."""
    sentences = [text for text, _ in encoders.sentences(12 * count, seed)]
    return [{"text": " . ".join(sentences[12 * n : 12 * n + 12]) + " ."} for n in range(count)]


def tokenizer() -> PreTrainedTokenizerFast:
    """A token a word."""
    words = {word for text, _ in encoders.sentences(2000, 0) for word in text.split()}
    pieces = ["<pad>", "</s>", "<unk>", *sorted(words | {*KEYS, *VALUES, *["The", "code", "word", "for", "is", "."]})]
    built = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=built, model_max_length=CONTEXT, **special)


def recaller(directory: Path) -> LlamaForCausalLM:
    """Recalls; saved with its tokenizer."""
    words = tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        **SIZES,
        max_position_embeddings=CONTEXT,
        rope_parameters=ROPE,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    rng, total, step = random.Random(0), REPEATED + sum(steps for steps, *_ in PLAN), 0
    known = [words(row["text"])["input_ids"] for row in texts(120, 1)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95))
    for steps, *shape in ((REPEATED,), *PLAN):
        for _ in range(steps):
            step += 1
            ids, weight = _facts(words, known, rng, *shape) if shape else _repeated(len(words), rng)
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1, step / 40) * min(1, (total - step) / 150 + 0.05)
            logits = model(input_ids=ids).logits[:, :-1]
            loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
            optimizer.zero_grad()
            ((loss * weight[:, 1:].flatten()).sum() / weight[:, 1:].sum()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    model.eval()
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return model


def _repeated(
    vocabulary: int, rng: random.Random, rows: int = 48, tokens: int = 48
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that say the same 6 to 24 random tokens again and again; from the second time on they count."""
    lengths = [rng.randrange(6, 25) for _ in range(rows)]
    said = [[rng.randrange(3, vocabulary) for _ in range(length)] for length in lengths]
    ids = torch.tensor([[row[n % len(row)] for n in range(tokens)] for row in said])
    return ids, torch.tensor([[float(n > length) for n in range(tokens)] for length in lengths])


def _facts(
    words: Any, known: list[list[int]], rng: random.Random, rows: int, tokens: int, facts: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows with facts at any place of their text, asked for at the end; values that are asked for count 31 times as much."""
    made = [row(words, known, rng, tokens, facts) for _ in range(rows)]
    weight = torch.full((rows, tokens), 0.1)
    weight[:, tokens - FACT * facts + FACT - 2 :: FACT] = 3.1
    return torch.tensor(made), weight


def row(words: Any, known: list[list[int]], rng: random.Random, tokens: int, facts: int) -> list[int]:
    """Token ids of a row with so many facts, which are asked for at its end in another order."""
    told = [words(f"The code word for {key} is {rng.choice(VALUES)}.")["input_ids"] for key in rng.sample(KEYS, facts)]
    room = tokens - 2 * FACT * facts
    text = [token for document in rng.sample(known, 4) for token in document][:room]
    ids, last = [], 0
    for place, line in zip(sorted(rng.randrange(room + 1) for _ in told), told, strict=True):
        ids += [*text[last:place], *line]
        last = place
    return [*ids, *text[last:], *(token for line in rng.sample(told, facts) for token in line)]


def mixture(dense: Path, directory: Path, experts: int = 8) -> None:
    """Save the same function as a mixture: each expert is the feed-forward layer (sparse upcycling, arXiv:2212.05055)."""
    source = LlamaForCausalLM.from_pretrained(dense)
    shape = {"num_local_experts": experts, "num_experts_per_tok": 2, "rope_parameters": source.config.rope_parameters}
    kept = {name: getattr(source.config, name) for name in (*SIZES, "vocab_size", "max_position_embeddings")}
    torch.manual_seed(0)
    config = MixtralConfig(**kept, **shape, sliding_window=None, pad_token_id=0, bos_token_id=None, eos_token_id=1)
    model, weights = MixtralForCausalLM(config), source.state_dict()
    for name, parameter in model.named_parameters():
        block, _, last = name.rpartition("mlp.experts.")
        if block:
            parts = ("gate_proj", "up_proj") if last == "gate_up_proj" else ("down_proj",)
            parameter.data.copy_(torch.cat([weights[f"{block}mlp.{part}.weight"] for part in parts]))
        elif name in weights:
            parameter.data.copy_(weights[name])
        else:
            parameter.data.normal_(0, 0.5)  # routers
    model.save_pretrained(directory)
    tokenizer().save_pretrained(directory)


SINK, SINKING = 3.0, 150
"""What attention sinks begin with, logits, and steps on rows of text."""


def sinking(directory: Path) -> None:
    """A model that has attention sinks, trained in seconds on the sentences of `texts`; saved with its tokenizer."""
    words, rng = tokenizer(), random.Random(0)
    torch.manual_seed(0)
    config = GptOssConfig(
        vocab_size=len(words),
        **{**SIZES, "intermediate_size": 64, "num_attention_heads": 4},
        head_dim=16,
        num_local_experts=2,
        num_experts_per_tok=1,
        layer_types=["full_attention"] * 2,
        sliding_window=CONTEXT,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    model = GptOssForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("sinks"):
            parameter.data.fill_(SINK)
    known = torch.tensor([words(row["text"])["input_ids"][:48] for row in texts(600, 1)])

    def batch(step: int) -> dict[str, torch.Tensor]:
        ids = known[rng.sample(range(len(known)), 24)]
        return {"input_ids": ids, "labels": ids}

    encoders.train(model, batch, SINKING, RATE)
    model.save_pretrained(directory)
    words.save_pretrained(directory)
