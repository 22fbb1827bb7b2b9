"""Weights and configurations that are not of one model, or of none."""

import json
import os
import struct
from pathlib import Path

from tests.flows.manifest.room import SHAPES, safetensors
from tests.flows.preflight.case import Input, architecture, config, file, instead, model, outlined, plug, weights

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 7348736\n"
UP = "model.layers.1.mlp.up_proj.weight"


def header(*spans: tuple[int, int], dtype: str = "BF16", shape: object = (1,), size: int = 4) -> bytes:
    entries = {f"t{n}": {"dtype": dtype, "shape": shape, "data_offsets": span} for n, span in enumerate(spans)}
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def sharded(**shards: str):
    """Split the weights into a.safetensors and b.safetensors, with an index that says `shards` beside what is true."""

    def arrange(room: Path) -> None:
        half = len(SHAPES) // 2
        parts = {"a.safetensors": dict(list(SHAPES.items())[:half]), "b.safetensors": dict(list(SHAPES.items())[half:])}
        index = {name: part for part, held in parts.items() for name in held}
        for name, held in parts.items():
            (room / "model" / name).write_bytes(safetensors(held))
        (room / "model" / "model.safetensors").unlink()
        if shards:
            text = json.dumps(
                {"weight_map": {**index, **{name.replace("__", "."): part for name, part in shards.items()}}}
            )
            (room / "model" / "model.safetensors.index.json").write_text(text)

    return arrange


def renamed(name: str):
    return lambda room: (room / "model" / "model.safetensors").rename(room / "model" / name)


WEIGHTS = (
    Input("a tensor missing", weights(lambda t: t.pop(UP)), (f"wants tensor {UP} [96, 64], not in the weights",)),
    Input("a norm missing", weights(lambda t: t.pop("model.norm.weight")), ("wants tensor model.norm.weight [64]",)),
    Input("no head", weights(lambda t: t.pop("lm_head.weight")), ("wants tensor lm_head.weight [10, 64]",)),
    Input(
        "half a block",
        weights(lambda t: [t.pop(name) for name in list(t) if ".1.self_attn." in name]),
        ("wants tensor model.layers.1.self_attn.q_proj.weight [64, 64] and 3 more",),
    ),
    Input("more blocks configured", config(num_hidden_layers=3), ("num_hidden_layers is 3", "hold 2 blocks")),
    Input("fewer blocks configured", config(num_hidden_layers=1), ("num_hidden_layers is 1", "hold 2 blocks")),
    Input(
        "another hidden size",
        config(hidden_size=32),
        ("tensor model.embed_tokens.weight and", "is [10, 64], and config.json wants [10, 32]"),
    ),
    Input(
        "another inner size",
        config(intermediate_size=192),
        ("mlp.gate_proj.weight and 5 more is [96, 64], and config.json wants [192, 64]",),
    ),
    Input("another vocabulary", config(vocab_size=12), ("is [10, 64], and config.json wants [12, 64]",)),
    Input(
        "other heads",
        config(num_key_value_heads=4),
        ("k_proj.weight and 3 more is [32, 64], and config.json wants [64",),
    ),
    Input(
        "biases not configured",
        config(attention_bias=True),
        ("wants tensor model.layers.0.self_attn.q_proj.bias [64]",),
    ),
    Input(
        "a tensor too many",
        weights(lambda t: t.update({"model.layers.1.mlp.gate.weight": (2, 64)})),
        ("no place for tensor model.layers.1.mlp.gate.weight",),
    ),
    Input(
        "blocks missing of an architecture without a table",
        model("helium", num_hidden_layers=4),
        ("num_hidden_layers is 4", "hold 1 blocks"),
    ),
    Input(
        "another vocabulary of an architecture without a table",
        model("helium", vocab_size=50),
        ("vocab_size is 50, and tensor model.embed_tokens.weight has 10 rows",),
    ),
    Input(
        "a linear missing in one block of an architecture without a table",
        outlined("olmo2", lambda t: t.pop("model.layers.2.mlp.up_proj.weight")),
        ("hold no tensor model.layers.2.mlp.up_proj.weight, which all other 3 blocks have",),
    ),
    Input(
        "a norm missing in one block of an architecture without a table",
        outlined("olmo2", lambda t: t.pop("model.layers.3.post_attention_layernorm.weight")),
        ("hold no tensor model.layers.3.post_attention_layernorm.weight",),
    ),
    Input(
        "a linear of another shape in one block of an architecture without a table",
        outlined("olmo2", lambda t: t.update({"model.layers.0.mlp.down_proj.weight": (32, 60)})),
        ("model.layers.0.mlp.down_proj.weight is [32, 60], and in all other 3 blocks [32, 64]",),
    ),
    Input(
        "an expert missing",
        model("mixtral", num_local_experts=3),
        ("wants tensor model.layers.0.block_sparse_moe.experts.2.w1.weight",),
    ),
    Input(
        "a pointer for weights", file("model/model.safetensors", POINTER), ("is a pointer of Git LFS", "git lfs pull")
    ),
    Input("a pointer for a tokenizer", file("model/tokenizer.json", POINTER), ("is a pointer of Git LFS",)),
    Input("a pointer for config.json", file("model/config.json", POINTER), ("is a pointer of Git LFS",)),
    Input("a pipe for weights", instead("model/model.safetensors", os.mkfifo), ("is a pipe",)),
    Input("a pipe for config.json", instead("model/config.json", os.mkfifo), ("is a pipe",)),
    Input("a pipe for a licence", lambda room: os.mkfifo(room / "model" / "LICENSE"), ("LICENSE is a pipe",)),
    Input("a socket for weights", instead("model/model.safetensors", plug), ("is a socket",)),
    Input("a directory for weights", instead("model/model.safetensors", Path.mkdir), ("is a directory",)),
    Input(
        "a link in a circle",
        instead("model/tokenizer.json", lambda path: path.symlink_to("tokenizer.json")),
        ("link that leads nowhere",),
    ),
    Input("no byte of weights", file("model/model.safetensors", b""), ("does not fit into 0 bytes",)),
    Input(
        "a page for weights",
        file("model/model.safetensors", b"<!DOCTYPE html><html>" * 9),
        ("not a whole safetensors",),
    ),
    Input("no tensor", file("model/model.safetensors", header(size=0)), ("holds no tensor",)),
    Input(
        "a header that is a list", file("model/model.safetensors", struct.pack("<Q", 2) + b"[]"), ("not safetensors",)
    ),
    Input("tensors that overlap", file("model/model.safetensors", header((0, 2), (1, 3))), ("overlap or leave gaps",)),
    Input("bytes left over", file("model/model.safetensors", safetensors(SHAPES) + b"xx"), ("download it again",)),
    Input(
        "a shape that is none",
        file("model/model.safetensors", header((0, 4), shape=(-2,))),
        ("shape [-2], which is none",),
    ),
    Input(
        "eight-bit floats",
        file("model/model.safetensors", header((0, 4), dtype="F8_E4M3", shape=(4,))),
        ("stores t0 as F8_E4M3", "float32, float16 or bfloat16"),
    ),
    Input("pickles", renamed("pytorch_model.bin"), ("as pytorch_model.bin", "convert them to safetensors")),
    Input("an adapter", renamed("adapter_model.safetensors"), ("holds an adapter alone",)),
    Input(
        "weights under another name", renamed("consolidated.safetensors"), ("consolidated.safetensors", "loaders go by")
    ),
    Input("shards without an index", sharded(), ("a.safetensors, b.safetensors", "loaders go by")),
    Input(
        "an index of another revision",
        sharded(model__layers__7__mlp="b.safetensors"),
        ("does not hold model.layers.7.mlp, which the index says",),
    ),
    Input("an index of nothing", file("model/model.safetensors.index.json", {"weight_map": {}}), ("names no tensor",)),
)

CONFIGURATIONS = (
    Input(
        "code of its own",
        config(model_type="mystery", auto_map={"AutoConfig": "mystery.Config"}),
        ("model_type 'mystery'", "auto_map", "never run"),
    ),
    Input("a type of tomorrow", architecture("llama9"), ("model_type 'llama9'", "install a version that does")),
    Input(
        "a classifier",
        architecture("bert", "BertForSequenceClassification"),
        ("BertForSequenceClassification: its head is for classification", "AutoModelForCausalLM"),
    ),
    Input(
        "a classifier of a decoder",
        architecture("llama", "LlamaForSequenceClassification"),
        ("its head is for classification, not for text generation",),
    ),
    Input(
        "a translator",
        architecture("bart", "BartForConditionalGeneration"),
        ("its head is for turning one sequence into another", "a BartForCausalLM are not there"),
    ),
    Input("speech", architecture("whisper", "WhisperForConditionalGeneration"), ("not for text generation",)),
    Input("T5", architecture("t5", "T5ForConditionalGeneration"), ("T5ForConditionalGeneration", "no model for text")),
    Input("pictures", architecture("vit"), ("'vit' which is no model for text generation",)),
    Input("architectures in a word", config(architectures="LlamaForCausalLM"), ("which is no list of names",)),
    Input("a size in words", config(hidden_size="64"), ("hidden_size is '64'", "positive whole number")),
    Input("no blocks", config(num_hidden_layers=0), ("num_hidden_layers is 0",)),
    Input("a part of a head", config(num_attention_heads=4.5), ("num_attention_heads is 4.5",)),
    Input(
        "heads that do not share the hidden size", config(num_attention_heads=7), ("does not divide hidden_size 64",)
    ),
    Input("heads that do not share keys", config(num_key_value_heads=3), ("does not divide num_attention_heads 4",)),
    Input("a dtype that nothing runs in", config(dtype="float8_e4m3fn"), ("dtype is float8_e4m3fn", "bfloat16")),
    Input("a model of 4 bits", config(quantization_config={"quant_method": "gptq"}), ("quantized already",)),
    Input("a configuration that is a list", file("model/config.json", "[]"), ("is not a mapping", "a list")),
    Input(
        "no generation configuration",
        file("model/generation_config.json", "{"),
        ("generation_config.json is not JSON",),
    ),
)

TOKENIZERS = (
    Input("no tokenizer in it", file("model/tokenizer.json", "{}"), ("is no tokenizer", "Model missing")),
    Input(
        "a tokenizer of a kind unknown", file("model/tokenizer.json", {"model": {"type": "Foo"}}), ("is no tokenizer",)
    ),
    Input(
        "a tokenizer without tokens",
        file("model/tokenizer.json", {"version": "1.0", "model": {"type": "WordLevel", "vocab": {}, "unk_token": "?"}}),
        ("knows no token",),
    ),
    Input(
        "a tokenizer of another model",
        file(
            "model/tokenizer.json",
            {
                "version": "1.0",
                "model": {"type": "WordLevel", "vocab": {str(n): n for n in range(40)}, "unk_token": "0"},
            },
        ),
        ("knows 40 tokens, and the model's vocab_size is 10",),
    ),
    Input("a tokenizer configuration that is a list", file("model/tokenizer_config.json", "[]"), ("is not a mapping",)),
    Input(
        "half a chat template",
        file("model/tokenizer_config.json", {"chat_template": "{% for m in messages %}{{ m.content }}"}),
        ("tokenizer_config.json has a chat template that is no Jinja template",),
    ),
    Input(
        "half a chat template in a file",
        file("model/chat_template.jinja", "\n{% if x %}{{ y }"),
        ("chat_template.jinja", "line 2"),
    ),
    Input(
        "pieces without the package that reads them",
        lambda room: (room / "model" / "tokenizer.json").rename(room / "model" / "tokenizer.model"),
        ("tokenizer.model", "sentencepiece"),
    ),
)
