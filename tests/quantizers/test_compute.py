import os
import platform
import sys

import pytest
import torch

from quantizers.hardware.compute_dtype import cpu_flags, fastest
from quantizers.hardware.device import compute
from quantizers.request import Calibration, Request
from tests.quantizers.models import DEMO

CHOSEN = [
    ({"amx_bf16", "avx512_bf16", "avx512_fp16"}, "bfloat16", "AMX"),
    ({"avx512_bf16"}, "bfloat16", "AVX512-BF16"),
    ({"avx512_bf16", "avx512_fp16"}, "float32", ""),
    (set(), "float32", ""),
]


@pytest.mark.parametrize(("flags", "chosen", "instructions"), CHOSEN)
def test_the_instruction_set_chooses_what_blocks_compute_in(flags, chosen, instructions, monkeypatch):
    for module in ("quantizers.hardware.compute_dtype", "quantizers.hardware.device"):
        monkeypatch.setattr(f"{module}.cpu_flags", lambda: frozenset(flags))
    assert fastest("cpu") == chosen
    assert fastest("cuda") == fastest("xpu") == "bfloat16"
    text = Calibration(documents=DEMO / "calibration.jsonl", compute=fastest("cpu"))
    request = Request(model=DEMO, targets={"t": {"rounding": "compensated"}}, calibration=text)
    assert str(compute(request)).startswith(f"{chosen}, {instructions}")


def test_the_entry_point_chooses_nothing_by_itself():
    assert Calibration(documents=DEMO / "calibration.jsonl").compute == "float32"
    with pytest.raises(ValueError, match="float32"):
        Calibration(documents=DEMO / "calibration.jsonl", compute="auto")


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="Linux names the flags of x86 so")
@pytest.mark.skipif("TORCH_ONEDNN_MAX_CPU_ISA" in os.environ, reason="the flags are made up (tests/cpu)")
def test_flags_are_what_torch_finds_too():
    capabilities = torch.cpu.get_capabilities()
    assert {"avx2", "sse2"} & cpu_flags()
    for flag in ("avx2", "avx512_bf16", "avx512_fp16", "amx_bf16"):
        assert (flag in cpu_flags()) == capabilities[flag], flag
