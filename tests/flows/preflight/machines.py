"""Devices, packages and disks that are not there: the machine is at fault, and the exit code says so."""

from tests.flows.manifest.room import jsonl
from tests.flows.manifest.wrong.case import MODEL
from tests.flows.preflight.case import Input, file, targets
from tests.flows.preflight.texts import CALIBRATED, LONG

AWQ = (
    MODEL
    + "calibration: {files: calibration.jsonl, tokens: 16, device: %s}\nevaluation: {files: evaluation.jsonl}\n"
    + CALIBRATED
)
longer = file("calibration.jsonl", jsonl((LONG,)))

MACHINES = (
    Input(
        "no NPU",
        lambda room: None,
        ("device NPU is not on this machine",),
        "",
        targets("{format: openvino, group_size: -1, device: NPU}"),
        4,
    ),
    Input("no CUDA", longer, ("calibration.device cuda is not on this machine",), "", AWQ % "cuda", 4),
    Input("no XPU", longer, ("calibration.device xpu is not on this machine",), "", AWQ % "xpu", 4),
)
