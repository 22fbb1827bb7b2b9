"""Texts and tasks that are not what is asked of them."""

import os
from pathlib import Path

from tests.flows.manifest.room import jsonl
from tests.flows.manifest.wrong.case import MODEL, TARGETS, TEXTS
from tests.flows.preflight.case import Input, file, instead, model, nothing, targets

CALIBRATED = "targets:\n  t: {group_size: 32, transform: awq}\n"
LONG = "the mill turns at night . " * 40
SHARED = " ".join(f"word{n}" for n in range(60))


def written(calibration: str = "", evaluation: str = "", rest: str = CALIBRATED) -> str:
    return (
        MODEL
        + f"calibration: {{files: calibration.jsonl{calibration}}}\n"
        + f"evaluation: {{files: evaluation.jsonl{evaluation}}}\n"
        + rest
    )


def task(name: str):
    def arrange(room: Path) -> None:
        (room / "task").mkdir()
        (room / "task" / "task.yaml").write_text(f"task: {name}\ndataset_path: json\n")

    return arrange


TEXTS_AND_TASKS = (
    Input(
        "less calibration text than a row",
        nothing,
        ("the text makes", "less than one row of 512"),
        "calibration.files",
        written(),
    ),
    Input(
        "fewer rows than asked for",
        file("calibration.jsonl", jsonl((LONG,))),
        ("asks for 99 rows of 16 tokens, and the text makes 15",),
        "calibration.samples",
        written(", tokens: 16, samples: 99"),
    ),
    Input(
        "one row for a search",
        file("calibration.jsonl", jsonl((LONG,))),
        ("less than two rows of 200", "measures on others"),
        "calibration.files",
        written(", tokens: 200", rest="targets:\n  t: {group_size: 32, transform: awq, auto: {max_kld: 0.1}}\n"),
    ),
    Input(
        "long rows that the text does not fill",
        nothing,
        ("asks for 8 rows of 64 tokens, and the text makes",),
        "gates.long_context",
        written(rest="targets: {t: {group_size: 32}}\ngates: {long_context: {lengths: [64]}}\n"),
    ),
    Input(
        "documents of one token",
        file("evaluation.jsonl", jsonl(("mill", "night"))),
        ("no document has two tokens",),
        "evaluation.files",
    ),
    Input(
        "rows longer than the model's positions",
        lambda room: (model("gpt2")(room), file("calibration.jsonl", jsonl((LONG,)))(room)),
        ("rows of 64 tokens, and the model has positions for 32",),
        "calibration.tokens",
        written(", tokens: 64", ", tokens: 16", "targets:\n  t: {preset: nf4, group_size: 32, transform: awq}\n"),
    ),
    Input(
        "documents longer than the model's positions",
        lambda room: (model("gpt2")(room), file("evaluation.jsonl", jsonl((LONG,)))(room)),
        ("asks for 64 tokens of a document, and the model has positions for 32",),
        "evaluation.tokens",
        written("", ", tokens: 64", "targets:\n  t: {preset: nf4, group_size: 32}\n"),
    ),
    Input(
        "a passage in both texts",
        lambda room: (
            file("calibration.jsonl", jsonl((LONG, f"Before. {SHARED}")))(room),
            file("evaluation.jsonl", jsonl(("New text.", "More of it.", f"{SHARED} And after.")))(room),
        ),
        ("evaluation.jsonl:3 shares", "calibration.jsonl:2", "word0 word1"),
        "evaluation.files",
        written(", tokens: 16"),
    ),
    Input("a pipe for a text", instead("evaluation.jsonl", os.mkfifo), ("is not a file",), "evaluation.files"),
    Input("a directory for a text", instead("calibration.jsonl", Path.mkdir), ("is not a file",), "calibration.files"),
    Input(
        "an unknown task",
        nothing,
        ("is no task of lm-evaluation-harness", "did you mean 'arc_easy'?"),
        "gates.tasks.arc_eazy",
        MODEL + TEXTS + TARGETS + "gates: {tasks: {arc_eazy: {}}}\n",
    ),
    Input(
        "a task that its file does not define",
        task("mine"),
        ("holds no task 'mime'", "its files define mine"),
        "gates.tasks.mime.file",
        targets("w4-rtn-g32") + "gates: {tasks: {mime: {file: task/task.yaml}}}\n",
    ),
)
