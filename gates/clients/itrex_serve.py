"""Run by the interpreter of the archived stack: `python itrex_serve.py ARTIFACT COMPUTE`. Needs nothing of ours.

Loads an artifact with its own loader and answers requests, one JSON line each on standard input: a line of JSON, and the bytes
of the tensor that it speaks of. It ends when its input does.
"""

import json
import logging
import os
import re
import sys
from itertools import takewhile

ANSWER = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # libraries print

import torch
from intel_extension_for_transformers import qbits
from intel_extension_for_transformers.transformers import AutoModelForCausalLM
from intel_extension_for_transformers.transformers.llm.quantization.nn.modules import QuantizedLinearQBits
from transformers import AutoConfig

WRONG = 0.1
"""Relative error of a product beyond which kernels compute something else: int8 activations alone make 0.01."""
ALARMS = ("newly initialized", "not initialized from the model checkpoint", "were not used when", "failed")

INDEX = ".g_idx"
"""End of tensors that it looks for whatever the method, and reads for GPTQ alone."""


class Listener(logging.Handler):
    """Keeps what a loader logs that a sound artifact never causes."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.faults = []

    def emit(self, record):
        """Keep the first line (logging calls this)."""
        text = record.getMessage()
        named = re.findall(r"'([^']+)'", text)
        if any(alarm in text for alarm in ALARMS) and not (named and all(name.endswith(INDEX) for name in named)):
            self.faults.append(text.strip().splitlines()[0][:400])


def tell(told, payload=b""):
    """Write a line of JSON and the bytes that follow it."""
    ANSWER.write(json.dumps(told).encode() + b"\n" + payload)
    ANSWER.flush()


def tensor(told, values):
    """Tell a tensor in float32."""
    values = values.detach().float().contiguous()
    tell({**told, "shape": list(values.shape)}, values.numpy().tobytes())


def dense(linear):
    """Return the weight, float32 (out, in), that a packed linear multiplies with."""
    # Dequantized as (in, out): the other order is for square matrices alone.
    weight = torch.zeros(linear.in_features, linear.out_features)
    qbits.dequantize_packed_weight(
        linear.weight.data, weight, False, linear.compute_dtype, linear.weight_dtype, linear.scale_dtype or "fp32"
    )
    return weight.t()


def probe(linear):
    """Return how far a product of the kernels is from that of the weights they unpack, relative to it."""
    given = torch.randn(8, linear.in_features, generator=torch.Generator().manual_seed(0))
    wanted = given @ dense(linear).t()
    bias = 0 if linear.bias is None else linear.bias.float()
    return float((linear(given) - bias - wanted).norm() / wanted.norm())


def load(path, compute):
    """Return the model as its user has it."""
    config = AutoConfig.from_pretrained(path)
    config.quantization_config["compute_dtype"] = compute
    return AutoModelForCausalLM.from_pretrained(path, config=config, use_neural_speed=False)


def generate(model, asked):
    """Continue prompts; ends of texts are not returned."""
    prompts = torch.tensor(asked["prompts"])
    drawn = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    options = {"do_sample": False} if asked["seed"] is None else drawn
    if asked["through_ends"]:
        options["min_new_tokens"] = asked["new_tokens"]
    torch.manual_seed(asked["seed"] or 0)
    made = model.generate(
        input_ids=prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=asked["new_tokens"],
        pad_token_id=0,
        **options,
    )
    stops = [] if asked["through_ends"] else ends(model)
    return [list(takewhile(lambda token: token not in stops, row)) for row in made[:, prompts.shape[1] :].tolist()]


def ends(model):
    """Return the tokens that end a text."""
    ends = model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [] if ends is None else [ends]


def answer(model, path, asked):
    """Answer one request."""
    if asked["what"] == "logits":
        ids = torch.tensor([asked["ids"]])
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        tensor({}, (out[0] if isinstance(out, tuple) else out.logits)[0])
    elif asked["what"] == "generate":
        tell({"rows": generate(model, asked)})
    else:
        for name, module in model.named_modules():
            if isinstance(module, QuantizedLinearQBits):
                tensor({"name": f"{name}.weight"}, dense(module))
            elif isinstance(module, torch.nn.Linear):
                tensor({"name": f"{name}.weight"}, module.weight)
        tell({"end": True})


def main():
    """Load, say so, and answer until the input ends."""
    path, compute = sys.argv[1:]
    listener = Listener()
    logging.getLogger("transformers").addHandler(listener)
    logging.getLogger().addHandler(listener)
    try:
        model = load(path, compute)
    except BaseException as error:  # it calls exit(0) when it fails
        tell({"error": f"{type(error).__name__}: {error}", "faults": listener.faults})
        raise
    packed = [module for module in model.modules() if isinstance(module, QuantizedLinearQBits)]
    # What threads that are not there would have written may be anything, NaN, too, which is no more than any bound.
    right = all(probe(module) <= WRONG for module in packed[:2])
    faults = listener.faults if packed else [*listener.faults, "none of its linears is quantized"]
    runtime = {"compute": compute, "linears": f"{len(packed)} packed"}
    context = getattr(model.config, "max_position_embeddings", None)
    tell({"faults": faults, "runtime": runtime, "context": context, "ends": ends(model), "wrong": not right})
    with torch.inference_mode():
        for line in sys.stdin:
            answer(model, path, json.loads(line))


if __name__ == "__main__":
    main()
