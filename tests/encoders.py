"""Small encoders, trained in seconds on sentences that are put together here, and the rows they are judged by."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertTokenizerFast,
    PreTrainedModel,
)

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
LOCATIONS = ["island", "barn", "harbour", "street", "field", "tower", "market", "bridge"]
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
    """One word piece a word, always the same."""
    words = {word for text, _ in sentences(2000, 0) for word in text.split()} | {
        "who",
        "where",
        "now",
        "is",
        "in",
        "?",
    }
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words)]
    (directory / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return BertTokenizerFast(str(directory / "vocab.txt"), model_max_length=64)


def train(model: nn.Module, batch: Callable[[int], dict[str, torch.Tensor]], steps: int, rate: float = 2e-3) -> None:
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
    pooled(directory)


def pooled(directory: Path) -> None:
    """Write beside a model of 64 dimensions what makes the mean over tokens, of length 1."""
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


def pairs(count: int, seed: int) -> list[dict[str, Any]]:
    """Sentences with another of the same topic (1), or of another (0)."""
    rng, topics, rows = random.Random(seed), list(TOPICS), []
    for number in range(count):
        # Twos of each: every second row has both.
        first, label = rng.choice(topics), number // 2 % 2
        second = first if label else rng.choice([topic for topic in topics if topic != first])
        rows.append({"text": sentence(rng, first), "pair": sentence(rng, second), "label": label})
    return rows


def cross_encoder(directory: Path) -> None:
    """Scores how much two sentences are about the same: one output, as rerankers have."""
    knows_topics = classifier(directory)
    words = _words(directory)
    torch.manual_seed(1)
    model = BertForSequenceClassification(BertConfig(vocab_size=len(words), **SIZES, num_labels=1))
    model.bert.load_state_dict(knows_topics.bert.state_dict())
    rows = pairs(6400, 2)

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen = rows[step * 32 % 6368 :][:32]
        made = words([r["text"] for r in chosen], [r["pair"] for r in chosen], padding=True, return_tensors="pt")
        return {**made, "labels": torch.tensor([3.0 * (2 * r["label"] - 1) for r in chosen])}

    train(model, batch, 300)
    _save(model, words, directory)


def tagged(count: int, seed: int) -> list[dict[str, Any]]:
    """Words of sentences; names of persons, and two words for a place, which are one wherever they stand behind `in the`."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        words = sentence(rng, rng.choice(list(TOPICS))).split()
        labels = ["B-PER" if word in NAMES else "O" for word in words]
        at = rng.choice([0, len(words)])
        words[at:at] = ["in", "the", rng.choice(ADJECTIVES), rng.choice(LOCATIONS)]
        labels[at:at] = ["O", "O", "B-LOC", "I-LOC"]
        rows.append({"words": words, "labels": labels})
    return rows


def tagger(directory: Path) -> None:
    """Finds persons and places."""
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    words = _words(directory)
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=len(words), **SIZES, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)}
    )
    model = BertForTokenClassification(config)
    rows = tagged(1600, 3)

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen = rows[step * 32 % 1568 :][:32]
        made = words([r["words"] for r in chosen], is_split_into_words=True, padding=True, return_tensors="pt")
        labels = torch.full(made["input_ids"].shape, -100)
        for number, row in enumerate(chosen):
            for token, word in enumerate(made.word_ids(number)):
                if word is not None:
                    labels[number, token] = names.index(row["labels"][word])
        return {**made, "labels": labels}

    train(model, batch, 100)
    _save(model, words, directory)


def questions(count: int, seed: int) -> list[dict[str, Any]]:
    """Who is somewhere, or where somebody is, beside something else that is said; answers are of one word or two.

    Questions are of one length, so that where a word stands says nothing of what is asked.
    """
    rng, rows = random.Random(seed), []
    for _ in range(count):
        (location, thing), (its, other) = rng.sample(LOCATIONS, 2), rng.sample(ADJECTIVES, 2)
        name, said = rng.choice(NAMES), [f"the {other} {thing} {rng.choice(VERBS)}"]
        said.insert(rng.randrange(2), f"{name} is in the {its} {location}")
        question, answer = rng.choice(
            [(f"who is in the {location} ?", name), (f"and where is {name} now ?", f"{its} {location}")]
        )
        rows.append({"context": " and ".join(said), "question": question, "answers": [answer]})
    return rows


def answerer(directory: Path) -> None:
    """Finds who is asked for."""
    words = _words(directory)
    torch.manual_seed(3)
    model = BertForQuestionAnswering(BertConfig(vocab_size=len(words), **SIZES))
    rows = questions(9600, 4)

    def batch(step: int) -> dict[str, torch.Tensor]:
        chosen = rows[step * 32 % 9568 :][:32]
        made = words([r["question"] for r in chosen], [r["context"] for r in chosen], padding=True, return_tensors="pt")
        # What is answered stands in the context, which is behind the question.
        spans = [row["context"].index(row["answers"][0]) for row in chosen]
        ends = [start + len(row["answers"][0]) - 1 for start, row in zip(spans, chosen, strict=True)]
        positions = [
            torch.tensor([made.char_to_token(number, each, 1) for number, each in enumerate(chars)])
            for chars in (spans, ends)
        ]
        return {**made, "start_positions": positions[0], "end_positions": positions[1]}

    train(model, batch, 300)
    _save(model, words, directory)


def filler(directory: Path) -> None:
    """Puts words where they are masked."""
    words = _words(directory)
    torch.manual_seed(4)
    model = BertForMaskedLM(BertConfig(vocab_size=len(words), **SIZES))
    rows = sentences(4000, 5)

    def batch(step: int) -> dict[str, torch.Tensor]:
        made = words([text for text, _ in rows[step * 32 % 3968 :][:32]], padding=True, return_tensors="pt")
        drawn = torch.rand(made["input_ids"].shape, generator=torch.Generator().manual_seed(step)) < 0.2
        drawn &= made["input_ids"] > 4
        labels = made["input_ids"].masked_fill(~drawn, -100)
        return {**made, "input_ids": made["input_ids"].masked_fill(drawn, words.mask_token_id), "labels": labels}

    train(model, batch, 400)
    _save(model, words, directory)


def _words(directory: Path) -> BertTokenizerFast:
    directory.mkdir(parents=True, exist_ok=True)
    return tokenizer(directory)


def _save(model: PreTrainedModel, words: BertTokenizerFast, directory: Path) -> None:
    model.save_pretrained(directory)
    words.save_pretrained(directory)
