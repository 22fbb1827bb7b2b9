"""The peers, each through its own public interface, on the same calibration rows and the same grid.

A peer takes the model's directory and a scratch directory, and returns the logits of what it made. Everything but
the block's linears stays as it was, as with ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from bench.score import Logits, calibration, loaded, rows_of, torch_logits
from quantizers.dtypes import dequantize
from quantizers.engines.neural_compressor import codes_of, quantized
from quantizers.entrypoint import run
from quantizers.model.checkpoint import open_checkpoint
from quantizers.model.selection import select_linears
from quantizers.model.skeleton import build
from quantizers.recipe import Recipe
from quantizers.request import Request

GROUP = 64


class Peer(Protocol):
    """Quantize now; the result loads what was made and returns its logits (not counted as quantizing)."""

    def __call__(self, model: Path, scratch: Path, samples: int) -> Callable[[], Logits]: ...


def ours(model: Path, scratch: Path, samples: int, **recipe: Any) -> Callable[[], Logits]:
    """Through the door; scored from the artifact on disk by the stock loader."""
    full = Recipe(**{"group_size": GROUP, "symmetric": False, **recipe})
    rows = calibration(samples) if full.calibrated else None
    run(Request(model=model, targets={"t": full}, calibration=rows), scratch / "out")
    return lambda: torch_logits(loaded(scratch / "out" / "t"))


def ours_in_openvino(model: Path, scratch: Path, samples: int, **recipe: Any) -> Callable[[], Logits]:
    """Through the door into OpenVINO IR; scored by OpenVINO in float32."""
    full = Recipe(**{"group_size": GROUP, "symmetric": False, "format": "openvino", **recipe})
    rows = calibration(samples) if full.calibrated else None
    run(Request(model=model, targets={"t": full}, calibration=rows), scratch / "out")
    return lambda: openvino_logits(scratch / "out" / "t" / "openvino_model.xml")


def neural_compressor(
    model: Path, scratch: Path, samples: int, transform: str | None, clip: bool
) -> Callable[[], Logits]:
    """Its model as it holds it: float32 scales after RTN, float16 after AWQ and TEQ, norms in float32."""
    recipe = Recipe(
        engine="neural-compressor",
        symmetric=False,
        group_size=GROUP,
        transform=transform,  # type: ignore[arg-type]
        range="mse" if clip else "minmax",
    )
    checkpoint = open_checkpoint(model)
    skeleton = build(checkpoint)
    linears = select_linears(skeleton, recipe, "t")
    made = quantized(
        skeleton, checkpoint, recipe, linears, rows_of("calibration", model, samples) if transform else None
    )

    def logits() -> Logits:
        plain = loaded(model)
        state, other = plain.state_dict(), made.state_dict()
        for name in state.keys() & other.keys():
            state[name].copy_(other[name])
        grid = recipe.grid
        for name in linears:
            codes = codes_of(made.get_submodule(name), grid, torch.float32)
            plain.get_submodule(name).weight.data.copy_(dequantize(codes, grid))  # type: ignore[union-attr,operator]
        return torch_logits(plain)

    return logits


def auto_round(model: Path, scratch: Path, samples: int, iters: int) -> Callable[[], Logits]:
    """Its rounded weights, as they stand in the model after `quantize`."""
    from auto_round import AutoRound
    from transformers import AutoTokenizer

    plain = loaded(model)
    rows = rows_of("calibration", model, samples)
    rounder = AutoRound(
        plain,
        AutoTokenizer.from_pretrained(model),
        scheme="W4A16",
        bits=4,
        group_size=GROUP,
        sym=False,
        iters=iters,
        dataset=[{"input_ids": row[None], "attention_mask": torch.ones_like(row[None])} for row in rows],
        nsamples=len(rows),
        seqlen=rows.shape[1],
        batch_size=8,
        device_map="cpu",
        disable_opt_rtn=iters > 0,
    )
    made, _ = rounder.quantize()
    return lambda: torch_logits(made.float().eval())


def nncf(model: Path, scratch: Path, samples: int, **options: bool) -> Callable[[], Logits]:
    """OpenVINO IR exported by optimum-intel and compressed by NNCF; scored by OpenVINO in float32."""
    import nncf
    from optimum.intel import OVModelForCausalLM

    exported = OVModelForCausalLM.from_pretrained(model, export=True, compile=False, load_in_8bit=False)
    ir = exported.model
    rows = rows_of("calibration", model, samples)
    compressed = nncf.compress_weights(
        ir,
        mode=nncf.CompressWeightsMode.INT4_ASYM,
        group_size=GROUP,
        ratio=1.0,
        all_layers=False,
        backup_mode=nncf.BackupMode.NONE,
        dataset=nncf.Dataset([_inputs(ir, row) for row in rows]) if options else None,
        subset_size=len(rows),
        **options,
    )
    return lambda: openvino_logits(compressed)


def openvino_logits(model: Any) -> Logits:
    """Of an OpenVINO model, or the path of one, computed in float32."""
    import openvino

    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
    compiled = openvino.Core().compile_model(model, "CPU", exact)
    request = compiled.create_infer_request()

    def call(row: Tensor) -> Tensor:
        request.reset_state()
        return torch.from_numpy(request.infer(_inputs(compiled, row[0]))["logits"].copy())

    return call


def _inputs(model: Any, row: Tensor) -> dict[str, Any]:
    names = {name for port in model.inputs for name in port.names}
    ids = row[None].numpy()
    values = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(row[None]).numpy(),
        "position_ids": torch.arange(len(row))[None].numpy(),
        "beam_idx": torch.zeros(1, dtype=torch.int32).numpy(),
    }
    return {name: value for name, value in values.items() if name in names}


OURS: dict[str, dict[str, Any]] = {
    "rtn": {},
    "mse": {"range": "mse"},
    "awq": {"transform": "awq"},
    "awq + mse": {"transform": "awq", "range": "mse"},
    "teq": {"transform": "teq"},
    "teq + mse": {"transform": "teq", "range": "mse"},
    "compensated": {"rounding": "compensated"},
    "awq + compensated": {"transform": "awq", "rounding": "compensated"},
    "teq + compensated": {"transform": "teq", "rounding": "compensated"},
    "teq + mse + compensated": {"transform": "teq", "range": "mse", "rounding": "compensated"},
    "awq + mse + compensated": {"transform": "awq", "range": "mse", "rounding": "compensated"},
}
PEERS: dict[str, Peer] = {
    **{f"quantmill {name}": partial(ours, **recipe) for name, recipe in OURS.items()},
    "neural-compressor RTN": partial(neural_compressor, transform=None, clip=False),
    "neural-compressor AWQ": partial(neural_compressor, transform="awq", clip=True),
    "neural-compressor TEQ": partial(neural_compressor, transform="teq", clip=False),
    "NNCF int4": nncf,
    "NNCF AWQ + SE": partial(nncf, awq=True, scale_estimation=True),
    "NNCF GPTQ": partial(nncf, gptq=True),
    "auto-round, 0 iterations": partial(auto_round, iters=0),
    "auto-round, 200 iterations": partial(auto_round, iters=200),
}
MIXTURES: dict[str, Peer] = {
    **{f"quantmill {name}, IR": partial(ours_in_openvino, **OURS[name]) for name in ("rtn", "awq + mse + compensated")},
    "quantmill teq + mse + compensated, IR": partial(ours_in_openvino, **OURS["teq + mse + compensated"]),
    **{name: PEERS[name] for name in ("NNCF int4", "NNCF AWQ + SE")},
}
"""Those that make IR of a mixture, experts and all. NNCF's GPTQ ends in an error at asymmetric experts."""
