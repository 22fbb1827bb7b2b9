"""The `baseline` step: run the original once over the evaluation text, for every artifact and night to come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from catalog import libraries
from catalog.formats import LOADABLE, ORIGINAL
from gates.clients.client import Loaded, load_original
from gates.errors import GateError
from gates.evaluation import chats, probes, scoring, tasks, texts
from gates.progress import report
from gates.request import BaselineRequest, Evaluation
from gates.results import Baseline


def run(request: BaselineRequest, out: Path) -> Baseline:
    """Score the original on every document; write one file per document, the probes and `result.json`."""
    tokenizer = load_tokenizer(request.model)
    rows = rows_of(request.evaluation, tokenizer)
    scored = [row for row in rows if len(row) > 1]
    if not scored:
        raise GateError(f"{request.evaluation.documents}: no document has two tokens, so there is nothing to predict.")
    loaded = load_original(request.model, request.task)
    if loaded.faults:
        raise GateError(
            f"{request.model}: the original does not load cleanly: {loaded.faults[0]}. Its configuration and its weights do "
            "not belong together, or a file is missing: fetch the model again."
        )
    losses = _score(loaded, [(row, 1) for row in scored], out / "documents", "documents")
    talks = chats.rows(tokenizer, scored)
    _score(loaded, talks, out / "chat", "conversations")
    _probe(loaded, tokenizer, scored, request.evaluation.tokens, out)
    answers = tasks.answer(loaded, tokenizer, request.tasks, "original")
    (out / "tasks.json").write_bytes(tasks.ANSWERS.dump_json(answers, indent=1) + b"\n")
    vocabulary = int(loaded.logits(scored[0][:1]).shape[-1])
    result = Baseline(
        documents=len(scored),
        left_out=len(rows) - len(scored),
        tokens=len(losses),
        row_tokens=request.evaluation.tokens,
        perplexity=float(losses.mean().exp()),
        vocabulary=vocabulary,
        kept=min(scoring.KEPT, vocabulary),
        chat=len(talks),
        weights_bytes=weights_bytes(request.model, ORIGINAL.name),
        tools=libraries.versions(libraries.scoring()),
    )
    (out / "result.json").write_text(result.model_dump_json(indent=1) + "\n")
    return result


def _score(loaded: Loaded, rows: list[tuple[Tensor, int]], out: Path, what: str) -> Tensor:
    """Score rows from their given token on; write one file each and return all losses, float64 (positions,)."""
    out.mkdir()
    losses = [torch.zeros(0, dtype=torch.float64)]
    for index, (row, start) in enumerate(rows):
        logits = loaded.logits(row)
        if not torch.isfinite(logits).all():
            raise GateError(f"The original's logits on {what[:-1]} {index} are not finite: nothing compares with it.")
        described = scoring.describe(row, logits, index, start)
        save_file(cast(dict[str, Tensor], described), out / file_name(index))
        losses.append(described["loss"].double())
        report(f"original: scoring {what}", index + 1, len(rows))
    return torch.cat(losses)


def _probe(loaded: Loaded, tokenizer: Any, rows: list[Tensor], row_tokens: int, out: Path) -> None:
    report("original: generating", 0, 1)
    prompts = probes.prompts_of(rows)
    answers = probes.Probes(
        prompts=tuple(tuple(prompt) for prompt in prompts.tolist()),
        greedy=probes.continuations(loaded, prompts, sample=False),
        sampled=probes.continuations(loaded, prompts, sample=True),
    )
    (out / "probes.json").write_text(answers.model_dump_json() + "\n")
    row = probes.long_row(rows, row_tokens, loaded.context or row_tokens)
    save_file({"ids": row.to(torch.int32), "loss": probes.losses(loaded, row)}, out / "long.safetensors")
    report("original: generating", 1, 1)


def load_tokenizer(path: Path) -> Any:
    """Load the tokenizer that lies beside a model, as its user will."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)


def rows_of(evaluation: Evaluation, tokenizer: Any) -> list[Tensor]:
    """Tokenize the documents, int64 (tokens,) each, with the special tokens the tokenizer adds of itself."""
    documents = texts.read(evaluation.documents)[: evaluation.max_documents]
    return [
        torch.tensor(tokenizer(text, truncation=True, max_length=evaluation.tokens)["input_ids"], dtype=torch.int64)
        for text in documents
    ]


def file_name(index: int) -> str:
    """Name of the file that holds a document, below `documents/` or `chat/`."""
    return f"{index:06d}.safetensors"


def read_row(directory: Path, index: int) -> scoring.Row:
    """Read what a baseline keeps of a document, below its `documents/` or `chat/`."""
    return cast(scoring.Row, load_file(directory / file_name(index)))


def read_result(directory: Path) -> Baseline:
    """Read a finished baseline; raises `GateError` for a directory that is none."""
    path = directory / "result.json"
    if not path.is_file():
        raise GateError(f"{directory}: no finished baseline (result.json is missing). Run the baseline step first.")
    return Baseline.model_validate(json.loads(path.read_text()))


def weights_bytes(path: Path, format_: str) -> int:
    """Bytes of the weight files in a model's directory."""
    files = {file for pattern in LOADABLE[format_].weights for file in path.glob(pattern)}
    return sum(file.stat().st_size for file in files)
