"""A mixture of experts at int4, asymmetric, groups of 64, as OpenVINO IR: ours against NNCF.

`python -m bench.mixture [--model DIRECTORY]` needs a mixture whose experts differ and whose weights are trained. Unless
one is given it makes one: the demo model with its feed-forward layers copied into the experts of a Mixtral (sparse
upcycling, arXiv:2212.05055), trained on the demo's training text until the experts have parted, in about two minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig, MixtralForCausalLM

from bench.models import DEMO, MODEL, copy_tokenizer
from bench.peers import MIXTURES
from bench.quality import COLUMNS, side
from bench.table import report, verdicts

CONFIG = {
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "router_aux_loss_coef": 0.02,
    "output_router_logits": True,
}
STEPS, BATCH, RATE = 200, 8, 1e-3
SHOWN = {"name", "kld", "perplexity_change", "top1", "quantizing_seconds", "peak_bytes"}


def upcycle(into: Path) -> None:
    """Write a Mixtral whose experts begin as the demo's feed-forward layers, a little apart, and are trained on."""
    torch.manual_seed(0)
    dense = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    shape = {k: v for k, v in dense.config.to_dict().items() if k in MixtralConfig().to_dict() and k != "model_type"}
    model = MixtralForCausalLM(MixtralConfig(**shape | CONFIG | {"dtype": "float32", "architectures": None}))
    weights = dense.state_dict()
    for name, parameter in model.named_parameters():
        path, _, last = name.rpartition("mlp.experts.")
        if path:
            parts = ("gate_proj", "up_proj") if last == "gate_up_proj" else ("down_proj",)
            whole = torch.cat([weights[f"{path}mlp.{part}.weight"] for part in parts])
            parameter.data.copy_(whole + torch.randn_like(parameter) * 0.3 * whole.std())
        elif name in weights:
            parameter.data.copy_(weights[name])
    _train(model)
    model.config.output_router_logits = False
    model.to(torch.bfloat16).save_pretrained(into)
    copy_tokenizer(into)


def _train(model: MixtralForCausalLM) -> None:
    spec = importlib.util.spec_from_file_location("train", DEMO / "train.py")
    assert spec is not None and spec.loader is not None
    demo: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    parts = demo.deal(demo.corpus())
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    data, held_out = (demo.rows(tokenizer, parts[part]) for part in ("train", "evaluation"))
    demo.train(model, data, held_out[:32], STEPS, BATCH, RATE)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", type=Path, help="a trained mixture, instead of one made here")
    model = arguments.parse_args().model
    with tempfile.TemporaryDirectory() as scratch:
        made = model is None
        if model is None:
            model = Path(scratch) / "model"
            upcycle(model)
        rows = []
        for peer in MIXTURES:
            rows.append(side(peer, model, Path(scratch)))
            print(f"{peer}: KLD {rows[-1]['kld']:.5f}, {rows[-1]['quantizing_seconds']:.1f} s", flush=True)
        columns = [column for column in COLUMNS if column.key in SHOWN]
        report("mixture", "Mixture of experts: int4 asymmetric, groups of 64, OpenVINO IR", columns, rows, made)
    kld = {row["name"]: row["kld"] for row in rows}
    best, rtn = kld["quantmill awq + mse + compensated, IR"], kld["quantmill rtn, IR"]
    peer = min((name for name in kld if name.startswith("NNCF")), key=kld.__getitem__)
    checks = [
        ("KLD of awq + mse + compensated / rtn", best / rtn, "<=", 0.5),
        (f"KLD of awq + mse + compensated / {peer}", best / kld[peer], "<=", 0.5),
    ]
    if not verdicts(checks):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
