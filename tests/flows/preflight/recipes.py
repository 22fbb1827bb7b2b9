"""Recipes that do not fit the model."""

from tests.flows.manifest.wrong.case import MODEL, TARGETS, TEXTS
from tests.flows.preflight.case import Input, config, model, nothing, targets, weights

IR = "ov-w4-g32"


def tied(room) -> None:
    config(tie_word_embeddings=True)(room)
    weights(lambda t: t.pop("lm_head.weight"))(room)


RECIPES = (
    Input(
        "an override of nothing",
        nothing,
        ("overrides name *.c_proj, which is no linear that the recipe quantizes",),
        "targets.t.overrides",
        targets('{preset: w4-rtn-g32, overrides: {"*.c_proj": int8}}'),
    ),
    Input(
        "an override of what is skipped",
        nothing,
        ("overrides name lm_head, which is no linear that the recipe quantizes",),
        "targets.t.overrides",
        targets("{preset: w4-rtn-g32, overrides: {lm_head: int8}}"),
    ),
    Input(
        "overrides that contradict each other",
        nothing,
        ("give model.layers.0.mlp.down_proj different dtypes",),
        "targets.t.overrides",
        targets('{preset: w4-rtn-g32, overrides: {"*.down_proj": int8, "*layers.0*": int3}}'),
    ),
    Input(
        "a skip of nothing",
        nothing,
        ("skips '*.fc1', which fits the name of no linear", "model.layers.0.", "lm_head"),
        "targets.t.skip",
        targets('{preset: w4-rtn-g32, skip: [lm_head, "*.fc1"]}'),
    ),
    Input(
        "an override of nothing in an architecture without a table",
        model("olmo2"),
        ("overrides name *.fc1, which fits no tensor of the weights", "model.layers.3.mlp.down_proj"),
        "targets.t.overrides",
        targets('{preset: w4-rtn-g32, overrides: {"*.fc1": int8}}'),
    ),
    Input(
        "an override of a block too many in an architecture without a table",
        model("olmo2"),
        ("overrides name model.layers.4.mlp.up_proj, which fits no tensor",),
        "targets.t.overrides",
        targets("{preset: w4-rtn-g32, overrides: {model.layers.4.mlp.up_proj: int8}}"),
    ),
    Input(
        "a skip of nothing in an architecture without a table",
        model("olmo2"),
        ("skips '*.fc1', which fits no tensor of the weights",),
        "targets.t.skip",
        targets('{preset: w4-rtn-g32, skip: [lm_head, "*.fc1"]}'),
    ),
    Input(
        "everything skipped",
        nothing,
        ("leaves no linear to quantize",),
        "targets.t.skip",
        targets('{preset: w4-rtn-g32, skip: ["*"]}'),
    ),
    Input(
        "a tied head dropped from skip",
        tied,
        ("lm_head shares its weights with model.embed_tokens", "Add lm_head to skip"),
        "targets.t.skip",
        targets("{preset: w4-rtn-g32, skip: []}"),
    ),
    Input(
        "a tied head of an architecture without a table",
        model("helium", tie_word_embeddings=True),
        ("skips no layer", "tie_word_embeddings"),
        "targets.t.skip",
        targets("{preset: w4-rtn-g32, skip: []}"),
    ),
    Input(
        "Conv1D in compressed-tensors",
        model("gpt2"),
        ("Conv1D", "use format bitsandbytes or openvino"),
        "targets.int4",
    ),
    Input(
        "linears of a class of their own",
        model("falcon"),
        ("FalconLinear, a class of its own", "use format openvino"),
        "targets.int4",
    ),
    Input(
        "what transformers could not load",
        model("gpt_bigcode"),
        ("cannot load transformer.h.0.attn.c_proj of a gpt_bigcode", "bitsandbytes"),
        "targets.int4",
    ),
    Input(
        "what the exporter does not take",
        model("helium"),
        ("exports no model_type 'helium' for text generation", "use format compressed-tensors or bitsandbytes"),
        "targets.t.preset",
        targets("{preset: ov-w4-g32}"),
    ),
    Input(
        "what the exporter takes with an older transformers",
        model("gemma2"),
        ("optimum-intel 2.1.0 with transformers", "exports no model_type 'gemma2'", "wants transformers up to 5.0"),
        "targets.t.preset",
        targets("{preset: ov-w4-g32}"),
    ),
    Input(
        "what llama.cpp does not know",
        model("helium"),
        ("format gguf holds model types gemma, llama", "'helium'", "use format compressed-tensors or bitsandbytes"),
        "targets.t.preset",
        targets("{preset: gguf-w4-rtn}"),
    ),
    Input(
        "rotary positions that llama.cpp does not scale",
        config(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}),
        ("by 'dynamic'", "use format compressed-tensors or bitsandbytes or openvino"),
        "targets.t.preset",
        targets("{preset: gguf-w4-rtn}"),
    ),
    Input(
        "a group that no block of GGML is",
        nothing,
        ("group_size 64 is not for format gguf, which holds 32",),
        "targets.t.group_size",
        targets("{preset: gguf-w4-rtn, group_size: 64}"),
    ),
    Input(
        "experts that cannot become IR",
        model("phimoe"),
        ("cannot be written as OpenVINO IR from a phimoe", "mixture of experts"),
        "targets.t.format",
        targets("{format: openvino, group_size: 32}"),
    ),
    Input(
        "experts of a block in different dtypes",
        model("mixtral"),
        ("are one tensor in format openvino",),
        "targets.t.overrides",
        targets('{format: openvino, group_size: 32, overrides: {"*.experts.0.w1": int8}}'),
    ),
    Input(
        "an override of experts that are kept",
        model("mixtral"),
        ("overrides name *.w1, which is no linear that the recipe quantizes",),
        "targets.t.overrides",
        targets('{preset: w4-rtn-g32, overrides: {"*.w1": int8}}'),
    ),
    Input(
        "rows that fill no byte",
        config(intermediate_size=96, num_attention_heads=4, hidden_size=64),
        ("group_size 96 does not divide the 64 inputs",),
        "targets.t.group_size",
        targets("{preset: ov-w4-g32, group_size: 96}"),
    ),
    Input(
        "an engine that knows no such blocks",
        model("helium"),
        ("model_type is 'helium', whose blocks are unknown here",),
        "targets.t.transform",
        targets("{engine: neural-compressor, group_size: 32, transform: awq}"),
    ),
    Input(
        "a size that no mix reaches",
        nothing,
        ("is 1.0% of", "in the narrowest of its dtypes", "% are left"),
        "targets.t.auto.max_ratio",
        targets("{preset: w4-rtn-g32, auto: {max_ratio: 1%}}"),
    ),
    Input(
        "a rung that skips nothing",
        nothing,
        ("skips 'head'",),
        "targets.t.ladder[1].skip",
        targets("{ladder: [w4-rtn-g32, {preset: w8-rtn, skip: [head]}]}"),
    ),
    Input(
        "a megabyte of memory",
        nothing,
        ("is 1 MB, and target int4 takes about",),
        "memory",
        MODEL + TEXTS + TARGETS + "memory: 1MB\n",
    ),
    Input(
        "generation from an original that is not held",
        nothing,
        ("holds artifacts against what", "leave this gate out"),
        "gates.generation",
        MODEL + TEXTS + TARGETS + "memory: 500MB\ngates: {generation: {min_tokens: 8}}\n",
    ),
    *(
        Input(
            name,
            nothing,
            says,
            f"targets.t.ov_config.{key}",
            targets(f"{{preset: {IR}, ov_config: {{{key}: {value}}}}}"),
        )
        for name, key, value, says in (
            (
                "a property that OpenVINO does not have",
                "PERFORMANCE_HINTS",
                "LATENCY",
                ("is no property of CPU", "can be set", "did you mean 'PERFORMANCE_HINT'?"),
            ),
            ("a property that is only read", "FULL_DEVICE_NAME", "Xeon", ("is only read",)),
            ("a property of no such value", "PERFORMANCE_HINT", "FAST", ("is 'FAST'", "OpenVINO refuses", "LATENCY")),
            ("a precision of no cache", "KV_CACHE_PRECISION", "u9", ("is 'u9'", "u8, u4")),
        )
    ),
    Input(
        "a property that no device has, of one that is not here",
        nothing,
        ("is no property of GPU", "did you mean"),
        "targets.t.ov_config.PERF_HINT",
        targets(f"{{preset: {IR}, device: GPU, ov_config: {{PERF_HINT: LATENCY}}}}"),
    ),
)
