"""Run by the interpreter of the archived stack: `python make.py REQUEST.json`. Needs nothing of ours.

Quantizes with neural-compressor 2.6, which intel-extension-for-transformers 1.4.2 calls in the same way, over given rows of
tokens, and saves what its loader reads: linears as integers, scales and zero points (GPTQ's layout), or, of a codebook, as the
block of bytes that its kernels read.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with the step that started it
ANSWER = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # libraries print

import torch
from intel_extension_for_transformers.transformers import AwqConfig, RtnConfig, TeqConfig
from intel_extension_for_transformers.transformers.llm.quantization.utils import replace_linear
from neural_compressor import PostTrainingQuantConfig, quantization
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

CONFIGS = {"rtn": RtnConfig, "awq": AwqConfig, "teq": TeqConfig}
TEQ_STEPS, TEQ_RATE = 100, 1e-3


class Rows:
    """What neural-compressor takes for a data loader: one row of tokens at a time."""

    batch_size = 1

    def __init__(self, rows):
        self.rows = torch.tensor(rows)

    def __iter__(self):
        """Yield int64 (1, tokens)."""
        return iter(self.rows.split(1))

    def __len__(self):
        return len(self.rows)


def settings(recipe, method):
    """Return the configuration of neural-compressor that a recipe stands for; heads stay as they are."""
    full, mse = recipe["dtype"] == "int4_fullrange", recipe["range"] == "mse"
    weight = {
        "bits": recipe["bits"],
        "dtype": recipe["dtype"] if recipe["dtype"] == "nf4" else "int",
        "group_size": recipe["group_size"],
        "scheme": "sym" if recipe["symmetric"] else "asym",
        "algorithm": method.upper(),
    }
    return PostTrainingQuantConfig(
        approach="weight_only",
        op_type_dict={".*": {"weight": weight}},
        op_name_dict={".*lm_head": {"weight": {"dtype": "fp32"}}},
        recipes={
            "rtn_args": {"enable_full_range": full, "enable_mse_search": mse},
            "awq_args": {"enable_auto_scale": True, "enable_mse_search": mse, "folding": True},
            "teq_args": {"folding": True},
        },
    )


def reading(method, rows):
    """Return what runs the model over the rows for a method."""

    def run(model):
        with torch.no_grad():
            for row in rows:
                model(row)

    def train(model):
        scales = [each for each in model.parameters() if each.requires_grad]
        optimizer = torch.optim.Adam(scales, lr=TEQ_RATE)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, TEQ_STEPS)
        for step in range(TEQ_STEPS):
            row = rows.rows[step % len(rows)][None]
            optimizer.zero_grad()
            model(row, labels=row)[0].backward()
            optimizer.step()
            schedule.step()

    return {"rtn": None, "awq": run, "teq": train}[method]


def make(asked):
    """Quantize, save the weights; return the loader's configuration and the tensors' names by what they are."""
    recipe, method = asked["recipe"], asked["recipe"]["transform"] or "rtn"
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(asked["model"])
    config.torchscript = method != "rtn"  # it traces the model to find what absorbs scales
    model = AutoModelForCausalLM.from_pretrained(asked["model"], config=config, torch_dtype=torch.float32)
    model.eval()
    rows = Rows(asked["rows"]) if asked["rows"] else None
    made = quantization.fit(model, settings(recipe, method), calib_func=reading(method, rows), calib_dataloader=rows)
    if made is None:
        raise RuntimeError("neural-compressor returned no model; its log says why")
    own = CONFIGS[method](
        bits=recipe["bits"],
        group_size=recipe["group_size"],
        compute_dtype="fp32",
        weight_dtype={"int8": "int8", "nf4": "nf4"}.get(recipe["dtype"], "int4_clip"),
        scale_dtype="fp32",
        **({"zero_point": not recipe["symmetric"]} if method == "awq" else {"sym": recipe["symmetric"]}),
    )
    if recipe["dtype"] == "nf4":
        model = replace_linear(made.model, None, None, own, device="cpu")
    else:
        model = made.export_compressed_model(use_optimum_format=True)
    own.remove_redundant_parameters()
    quantized = save(model, asked)
    told = {key: value for key, value in own.to_dict().items() if value is not None}
    told["quant_method"] = method
    return {"quantization_config": told, "quantized": quantized}


def save(model, asked):
    """Write the weights, what was not quantized in the dtype that it had; return the names of quantized linears."""
    dtypes = {name: getattr(torch, dtype) for name, dtype in asked["dtypes"].items()}
    linears = [name for name, each in model.named_modules() if hasattr(each, "qweight") or _packed(each)]
    tensors = {}
    for name, tensor in model.state_dict().items():
        module, _, last = name.rpartition(".")
        # A tied head is the embedding, which its loader ties again.
        if name == "lm_head.weight" and asked["tied"]:
            continue
        tensors[name] = tensor.detach().to(dtypes.get(name, tensor.dtype)).contiguous().clone()
        if module in linears and last == "weight":
            tensors[name] = tensor.detach().contiguous().clone()
    save_file(tensors, Path(asked["out"]) / "model.safetensors", metadata={"format": "pt"})
    return linears


def _packed(module):
    weight = getattr(module, "weight", None)
    return isinstance(module, torch.nn.Linear) and weight is not None and weight.dtype == torch.int8


def main():
    """Answer one request, in one line of JSON."""
    try:
        answer = make(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    except BaseException as error:
        ANSWER.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        raise
    ANSWER.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
