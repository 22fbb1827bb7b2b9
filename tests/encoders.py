"""Small encoders, trained in seconds on sentences that are put together here, and the rows they are judged by."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, PreTrainedModel

TOPICS = {
    "mill": "miller flour grain wheel stone sack sieve dust water bread",
    "sea": "sailor ship harbour wave anchor storm island sail rope fish",
    "sky": "pilot cloud wing star moon comet engine height wind signal",
    "town": "baker street market tower clock bridge shop lamp wall gate",
    "farm": "farmer field cow barn plough seed fence goose hay tractor",
    "school": "teacher pupil book chalk lesson desk bell paper ruler map",
}
VERBS = ["sees", "turns", "keeps", "finds", "brings", "leaves", "wants", "moves", "holds", "counts"]
ADJECTIVES = ["old", "small", "red", "quiet", "heavy", "new", "bright", "slow", "cold", "round"]
NAMES = ["anna", "bruno", "clara", "david", "emil", "frida", "gustav", "hanna"]
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


def sentence(rng: random.Random, topic: str) -> str:
    """Ten words or so, of which three are of the topic."""
    nouns = rng.sample(TOPICS[topic].split(), 3)
    adjectives = rng.sample(ADJECTIVES, 3)
    return (
        f"the {adjectives[0]} {nouns[0]} {rng.choice(VERBS)} the {adjectives[1]} {nouns[1]} "
        f"and {rng.choice(NAMES)} {rng.choice(VERBS)} the {adjectives[2]} {nouns[2]}"
    )


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """Sentences with their topics, each once; another seed gives others."""
    rng, topics = random.Random(seed), list(TOPICS)
    made = {sentence(rng, topic): topic for topic in (topics[n % len(topics)] for n in range(2 * count))}
    return list(made.items())[:count]


def tokenizer(directory: Path) -> BertTokenizerFast:
    """One word piece a word."""
    words = [word for text, _ in sentences(2000, 0) for word in text.split()] + [
        "who",
        "is",
        "in",
        "the",
        "garden",
        "kitchen",
        "?",
    ]
    made = BertWordPieceTokenizer()
    made.train_from_iterator(words * 3, vocab_size=400, min_frequency=1, show_progress=False)
    made.save_model(str(directory))
    return BertTokenizerFast(str(directory / "vocab.txt"), model_max_length=64)


def train(
    model: PreTrainedModel, batch: Callable[[int], dict[str, torch.Tensor]], steps: int, rate: float = 2e-3
) -> None:
    """Train on batches that are asked for by their number, with AdamW under a linear schedule."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        model(**batch(step)).loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def classifier(directory: Path) -> BertForSequenceClassification:
    """Tells a sentence's topic; saved with its tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    words = tokenizer(directory)
    names = list(TOPICS)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        **SIZES,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    model = BertForSequenceClassification(config)
    rows = sentences(1600, 1)

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen = rows[step * 32 % 1568 :][:32]
        made = words([text for text, _ in chosen], padding=True, return_tensors="pt")
        return {**made, "labels": torch.tensor([names.index(topic) for _, topic in chosen])}

    train(model, batch, 100)
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return model


def embedder(directory: Path) -> None:
    """The classifier's body in the layout of sentence-transformers: the mean over tokens, of length 1."""
    body = classifier(directory).bert
    body.config.architectures = ["BertModel"]
    body.save_pretrained(directory)
    kind = "sentence_transformers.models."
    steps = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [{"idx": n, "name": str(n), "path": path, "type": kind + name} for n, (path, name) in enumerate(steps)]
    write_json(directory / "modules.json", listed)
    (directory / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 64, "pooling_mode_mean_tokens": True}
    write_json(directory / "1_Pooling" / "config.json", pooling)
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
