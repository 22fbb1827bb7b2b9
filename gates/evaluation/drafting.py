"""Speculative decoding by OpenVINO GenAI: an artifact, its draft, and how many of the draft's tokens are accepted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from catalog.formats import LOADABLE
from catalog.progress import report
from gates.errors import GateError
from gates.evidence import Document
from gates.request import EvidenceRequest
from gates.tasks.contract import Stored

ROWS = 48
"""Documents that are continued, the first of the evaluation."""
PROMPT, NEW = 64, 48
"""Tokens of a document that are read, at the most, and tokens that are written."""
LEAST = 8
"""Tokens of a document that is continued."""


def _require_same_tokens(artifact: Path, draft: Path) -> None:
    from openvino_genai import Tokenizer

    own, theirs = (Tokenizer(directory).get_vocab() for directory in (artifact, draft))
    if own != theirs:
        raise ValueError(f"its draft has {len(theirs)} tokens, and not the same as its own {len(own)}")


def measure(request: EvidenceRequest) -> tuple[Document, ...]:
    """Continue documents greedily. Of each: `tokens` drafted, and the sum `accepted`.

    Raises:
        ValueError: the draft's tokens are others.
        GateError: the draft is gone, or no document has as many tokens as are to be read.
    """
    assert request.draft
    if not request.draft.directory.is_dir():
        raise GateError(
            f"{request.draft.directory}: the draft is no longer there, so nobody can say what is accepted of it. Release it "
            "again, or take `draft` out of the target."
        )
    import openvino
    import openvino_genai

    properties = request.runtime.arguments(LOADABLE[request.format]).get("ov_config", {})
    device = request.runtime.device
    _require_same_tokens(request.artifact, request.draft.directory)
    draft = openvino_genai.draft_model(request.draft.directory, device)
    pipeline = openvino_genai.LLMPipeline(request.artifact, device, draft_model=draft, **properties)
    config = openvino_genai.GenerationConfig(
        max_new_tokens=NEW, num_assistant_tokens=request.draft.candidates, ignore_eos=True, do_sample=False
    )
    stored = Stored(request.baseline / "documents")
    rows = [row for row in (stored.read(index)["ids"] for index in range(min(ROWS, len(stored)))) if len(row) >= LEAST]
    if not rows:
        raise GateError(
            f"{request.evaluation.documents}: no text has {LEAST} tokens, so none can be continued. Give longer ones."
        )
    documents = []
    for index, ids in enumerate(rows):
        prompt = openvino.Tensor(ids[:PROMPT].numpy().astype(np.int64)[None])
        counted = pipeline.generate(prompt, config).extended_perf_metrics
        sums = {"accepted": float(counted.get_num_accepted_tokens())}
        documents.append(Document(index=index, tokens=counted.get_num_draft_tokens(), sums=sums))
        report("artifact: with its draft", index + 1, len(rows))
    return tuple(documents)
