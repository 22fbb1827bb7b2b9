"""Configuration, tokenizer, processor, special tokens and chat template, each held against the original's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig

from gates.evidence import Check

# Written by whoever saved the files; says nothing of what the model computes.
_INCIDENTAL = frozenset(
    {
        "quantization_config",
        "dtype",
        "torch_dtype",
        "transformers_version",
        "_name_or_path",
        "_commit_hash",
        "use_cache",
    }
)
_TEXTS = (
    "The quick brown fox, 1984: 3.14159 + 2 = ?",
    "  two spaces, a\ttab,\n\na blank line and trailing space ",
    "Grüße, 你好世界, здравствуй, مرحبا, 🙂👩‍👩‍👧",
    "def f(x):\n    return [y ** 2 for y in x if y != 0]  # done",
    "",
)
_CHAT = (
    {"role": "user", "content": "What is a mill?"},
    {"role": "assistant", "content": "A machine that grinds."},
    {"role": "user", "content": "What does it grind?"},
)


def config(model: Path, artifact: Path) -> Check:
    """The architecture's settings are the original's: rotary base, context length, norms, token ids."""
    original, ours = (_settings(AutoConfig.from_pretrained(path, local_files_only=True)) for path in (model, artifact))
    differing = sorted(key for key in original.keys() | ours.keys() if original.get(key) != ours.get(key))
    detail = "architecture settings equal the original's"
    if differing:
        key = differing[0]
        detail = f"{key} is {ours.get(key)}, the original's is {original.get(key)}"
    return Check(name="config", passed=not differing, detail=detail)


def _settings(value: Any) -> dict[str, Any]:
    return {key: setting for key, setting in value.to_dict().items() if key not in _INCIDENTAL}


def tokenizer(original: Any, artifact: Any, vocabulary: int, texts: list[str]) -> Check:
    """Both tokenizers give the same ids and texts, and every id has a logit. `texts`: the evaluation's own."""
    name = "tokenizer"
    for quantity, ours, theirs in (
        ("entries", len(artifact), len(original)),
        ("tokens of context at most", artifact.model_max_length, original.model_max_length),
    ):
        if ours != theirs:
            return Check(name=name, passed=False, detail=f"{ours} {quantity}, the original's has {theirs}")
    for text in (*_TEXTS, *texts):
        ours, theirs = artifact(text)["input_ids"], original(text)["input_ids"]
        if ours != theirs:
            return Check(name=name, passed=False, detail=f"splits {text[:40]!r} differently from the original's")
        if max(ours, default=0) >= vocabulary:
            return Check(name=name, passed=False, detail=f"id {max(ours)} has no logit: the model has {vocabulary}")
        if artifact.decode(ours) != original.decode(theirs):
            return Check(name=name, passed=False, detail=f"does not give {text[:40]!r} back as the original's does")
    return Check(
        name=name, passed=True, detail=f"same ids and texts as the original's on {len(_TEXTS) + len(texts)} texts"
    )


def processor(original: Any, artifact: Any) -> Check:
    """Files, such as images, become the same tensors: both processors are of one class, with the same settings."""
    ours, theirs = ({"processor": type(each).__name__, **each.to_dict()} for each in (artifact, original))
    differing = sorted(key for key in (ours.keys() | theirs.keys()) - _INCIDENTAL if ours.get(key) != theirs.get(key))
    detail = f"{ours['processor']} with the original's settings"
    if differing:
        key = differing[0]
        detail = f"{key} is {ours.get(key, 'lost')}, the original's is {theirs.get(key, 'none')}"
    return Check(name="processor", passed=not differing, detail=detail)


def special_tokens(original: Any, artifact: Any, model: Path, copy: Path) -> Check:
    """Beginning, end, padding and added special tokens have the original's ids, also for generation."""
    ours, theirs = _special(artifact, copy), _special(original, model)
    differing = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    detail = f"{len(ours)} special settings equal the original's"
    if differing:
        key = differing[0]
        detail = f"{key} is {ours.get(key, 'lost')}, the original's is {theirs.get(key, 'none')}"
    return Check(name="special-tokens", passed=not differing, detail=detail)


def _special(tokenizer: Any, directory: Path) -> dict[str, Any]:
    from transformers import GenerationConfig

    special: dict[str, Any] = {
        name: getattr(tokenizer, f"{name}_id") for name in ("bos_token", "eos_token", "pad_token", "unk_token")
    }
    special |= {str(token): index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    if (directory / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(directory)
        special |= {f"generation {name}": getattr(generation, name) for name in ("bos_token_id", "eos_token_id")}
    return special


def chat_template(original: Any, artifact: Any) -> Check:
    """A conversation is rendered into the same text as by the original; a model without a template stays without."""
    ours, theirs = _render(artifact), _render(original)
    detail = "renders a conversation as the original does" if theirs is not None else "none, as the original"
    if ours != theirs:
        detail = (
            "lost" if ours is None else "the original has none" if theirs is None else _first_difference(ours, theirs)
        )
    return Check(name="chat-template", passed=ours == theirs, detail=detail)


def _render(tokenizer: Any) -> str | None:
    if tokenizer.chat_template is None:
        return None
    return str(tokenizer.apply_chat_template(list(_CHAT), tokenize=False, add_generation_prompt=True))


def _first_difference(ours: str, theirs: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return f"renders {ours[at : at + 30]!r} where the original renders {theirs[at : at + 30]!r}"
