"""Train the demo model from text that every Python installation carries, and write its calibration and evaluation texts.

    python manifests/demo/train.py [--steps 1000] [--out manifests/demo]

Reads docstrings and comments of the running interpreter's standard library and the language reference in
`pydoc_data`. Modules are dealt by a hash of their name into training, calibration and evaluation, so that no text of one
is text of another. The committed files were made on Python 3.11.7 with two CPU cores in about fifteen minutes.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import io
import json
import math
import sysconfig
import time
import tokenize
from pathlib import Path
from pydoc_data.topics import topics

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 2048
ROW = 256
NGRAM = 8
CONFIG = LlamaConfig(
    vocab_size=VOCABULARY,
    hidden_size=256,
    intermediate_size=768,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=4,
    max_position_embeddings=1024,
    tie_word_embeddings=True,
    bos_token_id=0,
    eos_token_id=1,
)


def prose(source: str) -> list[str]:
    """Return the docstrings of a module, then its comment blocks of three lines or more."""
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) for node in ast.walk(ast.parse(source)) if isinstance(node, nodes)]
    block: list[str] = []
    last = -2
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start[0] != last + 1:
            texts.append("\n".join(block) if len(block) > 2 else None)
            block = []
        block.append(token.string.lstrip("# "))
        last = token.start[0]
    return [text for text in texts if text and len(text) > 40]


def corpus() -> dict[str, list[str]]:
    """Return module name → its texts, each text once in the whole corpus."""
    root = Path(sysconfig.get_path("stdlib"))
    left_out = {"site-packages", "test", "tests", "lib2to3", "idlelib"}
    texts = {f"topic {name}": [text] for name, text in topics.items()}
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not left_out.intersection(name.parts):
            texts[str(name)] = prose(path.read_text())
    seen: set[str] = set()
    for name, module_texts in texts.items():
        texts[name] = [t for t in module_texts if not (t in seen or seen.add(t))]  # type: ignore[func-returns-value]
    return texts


def documents(texts: list[str], characters: int = 1200) -> list[str]:
    """Join a module's texts into documents of at least `characters` characters; a shorter rest is dropped."""
    out, held = [], ""
    for paragraph in "\n\n".join(texts).split("\n\n"):
        held = f"{held}\n\n{paragraph}" if held else paragraph
        if len(held) >= characters:
            out.append(held)
            held = ""
    return out


def ngrams(text: str) -> set[tuple[str, ...]]:
    """Return the word n-grams by which two texts are held to share content."""
    words = text.lower().split()
    return {tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}


def deal(texts: dict[str, list[str]]) -> dict[str, list[str]]:
    """Deal modules into training (16 of 20), calibration (2) and evaluation (2); topics are all training."""
    parts: dict[str, list[str]] = {"train": [], "calibration": [], "evaluation": []}
    for name, module_texts in texts.items():
        bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 20
        part = "train" if bucket > 3 or name.startswith("topic ") else "calibration" if bucket > 1 else "evaluation"
        parts[part] += documents(module_texts)
    known = set().union(*map(ngrams, parts["train"] + parts["calibration"]))
    parts["evaluation"] = [text for text in parts["evaluation"] if not known & ngrams(text)]
    return parts


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of `VOCABULARY` entries."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def rows(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """Return every text, each ended by `</s>`, as one tensor of token ids [n, ROW]."""
    ids = [i for text in texts for i in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
    return torch.tensor(ids[: len(ids) // ROW * ROW]).view(-1, ROW)


@torch.no_grad()
def perplexity(model: PreTrainedModel, data: torch.Tensor) -> float:
    """Return the perplexity over rows of token ids."""
    losses = [model(input_ids=batch, labels=batch).loss.item() for batch in data.split(16)]
    return math.exp(sum(losses) / len(losses))


def train(
    model: PreTrainedModel, data: torch.Tensor, held_out: torch.Tensor, steps: int, batch: int = 24, rate: float = 3e-3
) -> None:
    """Train with AdamW under a cosine schedule with warm-up."""
    print(f"{model.num_parameters():,} parameters; perplexity before {perplexity(model, held_out):.0f}", flush=True)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 40, 0.05 + 0.475 * (1 + math.cos(math.pi * s / steps)))
    )
    start = time.perf_counter()
    for step in range(steps):
        picked = data[torch.randint(len(data), (batch,))]
        loss = model(input_ids=picked, labels=picked).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            seconds = time.perf_counter() - start
            print(
                f"step {step + 1}: loss {loss.item():.3f}, held out {perplexity(model, held_out):.2f}, {seconds:.0f} s",
                flush=True,
            )


def main() -> None:
    """Train, and write model, tokenizer and texts below --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    parts = deal(corpus())
    for part in ("calibration", "evaluation"):
        lines = [json.dumps({"text": text}) for text in parts[part]]
        (arguments.out / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    tokenizer = train_tokenizer(parts["train"])
    tokenizer.save_pretrained(arguments.out / "model")
    data, held_out = rows(tokenizer, parts["train"]), rows(tokenizer, parts["evaluation"])
    sizes = ", ".join(f"{len(texts)} {part}" for part, texts in parts.items())
    print(f"documents: {sizes}; {data.numel():,} training tokens", flush=True)
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG)
    train(model, data, held_out, arguments.steps)
    model.to(torch.bfloat16).save_pretrained(arguments.out / "model")
    print(f"held-out perplexity as stored: {perplexity(model, held_out):.2f}")


if __name__ == "__main__":
    main()
