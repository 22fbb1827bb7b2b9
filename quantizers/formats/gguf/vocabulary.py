"""A model's tokenizer and chat template inside a GGUF, as llama.cpp reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, SpecialVocab, TokenType
from transformers import AutoTokenizer

from quantizers.formats.gguf.limits import pre_tokenizer


def add(writer: GGUFWriter, model: Path, size: int) -> None:
    """Write the tokenizer in `model`, whose vocabulary is filled up to `size` tokens, one for each row of the embedding."""
    described = json.loads((model / "tokenizer.json").read_text("utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    pieces = bool(described["model"].get("byte_fallback"))
    texts, types = _tokens(tokenizer, described, size)
    writer.add_tokenizer_model("llama" if pieces else "gpt2")
    writer.add_tokenizer_pre("default" if pieces else str(pre_tokenizer(described)))
    writer.add_token_list(texts)
    writer.add_token_types(types)
    if pieces:
        writer.add_token_scores(_scores(described, texts, types))
        writer.add_add_space_prefix(_begins_with_space(described))
    if name := _name(tokenizer):
        writer.add_name(name)
    special = SpecialVocab(model, load_merges=not pieces, n_vocab=size)
    special.add_special_token |= _added(tokenizer)
    special.add_to_gguf(writer, quiet=True)


def _name(tokenizer: Any) -> str | None:
    """What decides in llama.cpp, of all things, whether special tokens take the spaces after them: `phi-3` does.

    Without a name it takes nothing for granted; transformers would not load one that is called `mistral`.
    """
    tokens = {token.content: token for token in tokenizer.added_tokens_decoder.values()}
    known = all(text in tokens for text in ("<unk>", "<s>", "</s>", "<|endoftext|>"))
    return "phi-3" if known and tokens["</s>"].rstrip else None


def _tokens(tokenizer: Any, described: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Text and type of every token; rows of the embedding that no text becomes are unused."""
    model, texts = described["model"], [f"[PAD{number}]" for number in range(size)]
    types = [int(TokenType.UNUSED)] * size
    for text, number in model["vocab"].items():
        texts[number] = text
        types[number] = _type(text, bool(model.get("byte_fallback")), model.get("unk_token"))
    for number, token in tokenizer.added_tokens_decoder.items():
        if number < size:
            texts[number] = token.content
            unknown = token.content == model.get("unk_token") and model.get("byte_fallback")
            kind = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
            types[number] = int(TokenType.UNKNOWN if unknown else kind)
    return texts, types


def _type(text: str, pieces: bool, unknown: str | None) -> int:
    if pieces and text == unknown:
        return int(TokenType.UNKNOWN)
    if pieces and len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        return int(TokenType.BYTE)
    return int(TokenType.NORMAL)


def _scores(described: dict[str, Any], texts: list[str], types: list[int]) -> list[float]:
    """What llama.cpp merges by, the highest first: the place of a merge in the list of tokenizer.json, which is in its order."""
    rank_of: dict[str, int] = {}
    for number, pair in enumerate(described["model"]["merges"]):
        first, second = pair.split(" ") if isinstance(pair, str) else pair
        rank_of.setdefault(first + second, number)
    last = len(described["model"]["merges"])
    return [
        -float(rank_of.get(t, last)) if kind == TokenType.NORMAL else 0.0 for t, kind in zip(texts, types, strict=True)
    ]


def _begins_with_space(described: dict[str, Any]) -> bool:
    """Whether the text is given a space to begin with: by the normalizer of older files, by Metaspace in newer ones."""
    normalizer, pre = (described.get(key) or {} for key in ("normalizer", "pre_tokenizer"))
    steps = [*normalizer.get("normalizers", [normalizer]), *pre.get("pretokenizers", [pre])]
    return any(
        step.get("type") == "Prepend" or (step.get("type") == "Metaspace" and step.get("prepend_scheme") != "never")
        for step in steps
    )


def _added(tokenizer: Any) -> dict[str, bool]:
    """Whether a text gets tokens before and after it; left out, llama.cpp would go by the kind of tokenizer."""
    ids = tokenizer("a")["input_ids"]
    return {"bos": ids[0] == tokenizer.bos_token_id, "eos": ids[-1] == tokenizer.eos_token_id}
