"""A small T5 in the shape of Flan-T5, trained in seconds to translate sentences that are put together here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel, T5ForConditionalGeneration

from tests import encoders

SIZES: dict[str, Any] = {
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 16,
    "relative_attention_max_distance": 32,
}


def translated(text: str) -> str:
    """The other language: words are written backwards, and what is said of a thing stands behind it."""
    words = text.split()
    for place, word in enumerate(words):
        if word == "the":
            words[place + 1 : place + 3] = reversed(words[place + 1 : place + 3])
    return " ".join(word[::-1] for word in words)


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Sentences and their translations; another seed gives others."""
    texts = [text.partition(" and ")[0] for text, _ in encoders.sentences(count, seed)]
    return [{"source": text, "target": translated(text)} for text in dict.fromkeys(texts)]


def tokenizer() -> PreTrainedTokenizerFast:
    """A token a word, and the one that ends a text."""
    texts = [text for text, _ in encoders.sentences(2000, 0)]
    words = sorted({word for text in texts for side in (text, translated(text)) for word in side.split()})
    pieces = ["<pad>", "</s>", "<unk>", *words]
    built = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    built.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])  # type: ignore[assignment]
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=built, model_max_length=64, **special)


def translator(directory: Path, steps: int = 800) -> T5ForConditionalGeneration:
    """Translates; saved with its tokenizer."""
    words = tokenizer()
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(words),
        **SIZES,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        dropout_rate=0.0,
    )
    model = T5ForConditionalGeneration(config)
    known = rows(4000, 1)

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen = known[step * 32 % (len(known) - 32) :][:32]
        made = words([row["source"] for row in chosen], padding=True, return_tensors="pt")
        labels = words([row["target"] for row in chosen], padding=True, return_tensors="pt")["input_ids"]
        return {
            "input_ids": made["input_ids"],
            "attention_mask": made["attention_mask"],
            "labels": labels.masked_fill(labels == 0, -100),
        }

    encoders.train(model, batch, steps, 5e-3)
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return model


def encoder(directory: Path) -> None:
    """The translator's encoder alone, in the layout of sentence-transformers, as sentence-t5 is."""
    both = translator(directory, 200)
    alone = T5EncoderModel(both.config)
    alone.load_state_dict(both.state_dict(), strict=False)
    alone.save_pretrained(directory)
    encoders.pooled(directory)
