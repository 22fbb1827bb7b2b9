"""What it costs to quantize shapes of real sizes: whole processes, as the kernel and the clock see them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from bench.process import measured
from bench.score import calibration
from quantizers.recipe import Recipe
from quantizers.request import Request

SAMPLES = 32
RTN = Recipe(dtype="int4", symmetric=False, group_size=64)
IR = RTN.model_copy(update={"format": "openvino"})
CALIBRATED = Recipe(dtype="int4", symmetric=False, group_size=64, transform="awq", rounding="compensated")


def by_entrypoint(name: str, model: Path, scratch: Path, *recipes: Recipe) -> dict[str, Any]:
    """One run of `python -m quantizers` for all `recipes`; the artifacts are thrown away."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        request = Request(
            model=model,
            targets={f"t{i}": recipe for i, recipe in enumerate(recipes)},
            calibration=calibration(SAMPLES) if any(r.calibrated for r in recipes) else None,
        )
        path = Path(directory) / "request.json"
        path.write_text(request.model_dump_json(), "utf-8")
        taken = measured("quantizers", path, Path(directory) / "out", log=scratch / "log")
        made = sum(
            file.stat().st_size for end in ("safetensors", "bin") for file in Path(directory).glob(f"out/*/*.{end}")
        )
    seconds, peak = taken.seconds, taken.peak_bytes
    return {"name": name, "process_seconds": seconds, "peak_bytes": peak, "artifact_bytes": made}


def peer(name: str, model: Path, scratch: Path) -> dict[str, Any]:
    """One peer in a process of its own, nothing scored."""
    directory = Path(tempfile.mkdtemp(dir=scratch))
    taken = measured("bench.side", name, model, directory, str(SAMPLES), "--no-score", log=scratch / "log")
    shutil.rmtree(directory)
    return {"name": name, "process_seconds": taken.seconds, "peak_bytes": taken.peak_bytes}
