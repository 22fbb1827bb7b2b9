"""llama.cpp splits text of a GGUF file as the original's tokenizer does."""

import json
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from gates.clients import xllamacpp
from quantizers.entrypoint import run
from quantizers.recipe import Recipe
from quantizers.request import Request
from tests.quantizers.formats.gguf_models import (
    TEXTS,
    WORDS,
    saved,
)
from tests.quantizers.models import DEMO

pytestmark = pytest.mark.xdist_group("gguf")


TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(pattern: str | None, **options: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**options))
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    if pattern is not None:
        from tokenizers import Regex

        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        whole = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.pre_tokenizer, tokenizer.decoder = whole, decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(WORDS * 3, trainer)
    return tokenizer


def pieces(prefix: bool) -> Tokenizer:
    """As Llama 2 and Gemma have it: bytes for what is no piece, and spaces that are written as ▁."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, max_token_length=12)
    tokenizer.train_from_iterator([text.replace(" ", " ") for text in TEXTS], trainer)
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def begun(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


TOKENIZERS = {
    "gpt-2": lambda: byte_level(None),
    "llama-3": lambda: begun(byte_level(LLAMA_3, ignore_merges=True)),
    "qwen2": lambda: byte_level(LLAMA_3.replace("{1,3}", "")),
    "llama-2": lambda: begun(pieces(True)),
    "gemma": lambda: begun(pieces(False)),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_llama_cpp_splits_text_as_the_original_s_tokenizer(name, tmp_path):
    model = saved("llama", tmp_path / "model")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZERS[name](), bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(model)
    run(Request(model=model, targets={"t": Recipe(format="gguf", group_size=32)}), tmp_path)
    original = AutoTokenizer.from_pretrained(model)
    check = xllamacpp.tokenizers(tmp_path / "t", original, WORDS)
    assert check.passed, check.detail
    assert len({token for text in WORDS for token in original(text)["input_ids"]}) > 200
    original.chat_template = TEMPLATE + " "
    assert "chat template" in xllamacpp.tokenizers(tmp_path / "t", original, WORDS).detail
    other = AutoTokenizer.from_pretrained(DEMO / "model")
    assert "splits" in xllamacpp.tokenizers(tmp_path / "t", other, WORDS).detail
